const stacks = JSON.parse(document.getElementById("stacks").textContent), element = document.getElementById("stack");
const viewer = element && new Viewer(element, { marks: (series, slice) => slice.marks });
let shown = "";

// The viewer's images are those that stand on the page, and further sequences in panes beside them.
function show(patient) {
  if (shown === patient) return;
  shown = patient;
  for (const series of stacks[patient])
    for (const slice of series.slices) slice.image ??= document.querySelector(`.frame[data-go="${slice.key}"] img`).src;
  document.getElementById("shown").textContent = `Slices of ${patient}`;
  viewer.show({ key: patient, series: stacks[patient] });
}

function go(key) {
  const patient = Object.keys(stacks).find(one => stacks[one].some(series => series.slices.some(slice => slice.key === key)));
  show(patient);
  const stack = stacks[patient].find(series => series.slices.some(slice => slice.key === key));
  for (const pane of viewer.panes) {
    const at = pane.list.findIndex(series => series.key === stack.key);
    if (at >= 0 && pane.at !== at) pane.change(at);
  }
  viewer.activate(viewer.panes[0]);
  viewer.active.go(stack.slices.findIndex(slice => slice.key === key));
  element.scrollIntoView({ block: "nearest" });
}

if (viewer) {
  show(Object.keys(stacks)[0]);
  document.addEventListener("click", event => { const from = event.target.closest("[data-go]"); if (from) go(from.dataset.go); });
  document.addEventListener("keydown", event => { if (event.target === element && event.key !== "Tab" && viewer.key(event)) event.preventDefault(); });
}
