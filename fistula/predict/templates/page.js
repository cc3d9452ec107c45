const stacks = JSON.parse(document.getElementById("stacks").textContent), element = document.getElementById("stack");
const viewer = element && new Viewer(element, { marks: (series, slice) => slice.marks });
let shown = "";

// The viewer's images are those that stand on the page.
function show(patient) {
  if (shown === patient) return;
  shown = patient;
  for (const series of stacks[patient])
    for (const slice of series.slices) slice.image = document.querySelector(`.frame[data-go="${slice.key}"] img`).src;
  document.getElementById("shown").textContent = `Slices of ${patient}`;
  viewer.show({ key: patient, series: stacks[patient] });
}

function go(key) {
  const patient = Object.keys(stacks).find(one => stacks[one].some(series => series.slices.some(slice => slice.key === key)));
  show(patient);
  const at = stacks[patient].findIndex(series => series.slices.some(slice => slice.key === key));
  if (viewer.active.at !== at) viewer.active.change(at);
  viewer.active.go(stacks[patient][at].slices.findIndex(slice => slice.key === key));
  element.scrollIntoView({ block: "nearest" });
}

if (viewer) {
  show(Object.keys(stacks)[0]);
  document.addEventListener("click", event => { const from = event.target.closest("[data-go]"); if (from) go(from.dataset.go); });
  document.addEventListener("keydown", event => { if (event.target === element && event.key !== "Tab" && viewer.key(event)) event.preventDefault(); });
}
