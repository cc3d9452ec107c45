"use strict";
// The page holds every test slice once; a view (configuration) says how its runs scored them. A row is a slice in a run.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
const NAMES = { FN: "▲ false negative", FP: "■ false positive", TP: "● true positive", TN: "○ true negative" };
const WORST = ["FN", "FP", "TP", "TN"];
const ORDERS = {
  worst: (a, b) => WORST.indexOf(a.outcome) - WORST.indexOf(b.outcome) || (a.label ? a.score - b.score : b.score - a.score),
  falling: (a, b) => b.score - a.score,
  rising: (a, b) => a.score - b.score,
  decided: (a, b) => WORST.indexOf(a.ofPatient) - WORST.indexOf(b.ofPatient) || a.run - b.run || a.patient - b.patient || b.weight - a.weight,
  patient: (a, b) => a.slice - b.slice || a.run - b.run,
};
let rows = [], listed = [], thresholds = [], current = 0;
let threshold = null; // null: each run's own operating point

function element(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

function fill(select, options) {
  const before = select.value;
  select.replaceChildren(...options.map(([value, text]) => { const o = element("option", "", text); o.value = value; return o; }));
  if (options.some(([value]) => String(value) === before)) select.value = before;
}

// A picture is decoded when its card comes near the window, and not before.
const near = new IntersectionObserver(entries => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    target.src = data.slices.picture[target.dataset.slice];
    near.unobserve(target);
  }
}, { rootMargin: "600px" });

function makeCard(row) {
  const item = element("li"), button = element("button", "card"), frame = element("span", "picture"), text = element("span", "text");
  const picture = element("img");
  button.type = "button";
  frame.style.aspectRatio = data.cols / data.rows;
  picture.alt = "";
  picture.dataset.slice = row.slice;
  near.observe(picture);
  frame.append(picture);
  row.verdict = element("span", "outcome");
  const run = view().runs[row.run];
  const image = data.slices.image[row.slice];
  text.append(row.verdict, element("span", "", `score ${row.score.toFixed(3)}`),
    ...(row.weight === null ? [] : [element("span", "", `weight ${(100 * row.weight).toFixed(0)}%`)]),
    element("span", "", `patient ${run.patients[data.slices.patient[row.slice]].toFixed(3)}`),
    element("span", "", `${image === null ? "" : `image ${image} · `}fold ${run.fold}`),
    element("span", "key", data.slices.patient[row.slice]));
  button.append(frame, text);
  for (const event of ["mouseenter", "focus"]) button.addEventListener(event, () => look(row, frame));
  button.addEventListener("click", () => { select(listed.indexOf(row)); enlarge(); });
  item.append(button);
  row.item = item;
  row.button = button;
}

// Where the network looked, from 0 (nothing there) to 255: yellow to red, the more opaque the higher; grey stays grey at 0.
function paint(canvas, row) {
  const maps = view().runs[row.run].bytes, cells = data.cells, area = cells * cells;
  if (!maps || !maps.subarray(row.at * area, (row.at + 1) * area).some(Boolean)) return false;
  canvas.width = canvas.height = cells;
  const context = canvas.getContext("2d"), drawn = context.createImageData(cells, cells);
  for (let i = 0; i < area; i++) {
    const heat = maps[row.at * area + i];
    drawn.data.set([255, 230 - Math.round(heat * .75), 40, Math.round(heat * .6)], 4 * i);
  }
  context.putImageData(drawn, 0, 0);
  return true;
}

function unpack(run) {
  run.bytes ??= run.maps ? Uint8Array.from(atob(run.maps), letter => letter.charCodeAt(0)) : null;
}

// A map is drawn when it is first looked at.
function look(row, frame) {
  if (frame.querySelector(".map")) return;
  const canvas = element("canvas", "map");
  if (paint(canvas, row)) frame.append(canvas);
}

const view = () => data.views[$("view").value];

// Slices of one patient lie side by side: they are of one label in a run that scores patients.
const patients = [...new Set(data.slices.patient)];
function ofPatient(run, slice) {
  const key = data.slices.patient[slice], called = run.patients[key] >= run.patient_threshold;
  const positive = run.slices.some((one, i) => run.labels[i] && data.slices.patient[one] === key);
  return (called === positive ? "T" : "F") + (called ? "P" : "N");
}

function changeView() {
  const runs = view().runs;
  const seeds = new Set(runs.map(run => run.seed)).size > 1;
  fill($("run"), [["", "all"], ...runs.map((run, n) => [n, `fold ${run.fold}${seeds ? `, seed ${run.seed}` : ""}`])]);
  $("marks").replaceChildren(...[view().mark, ...view().warnings].filter(Boolean).map(text => element("p", "mark", text)));
  runs.forEach(unpack);
  const without = [...new Set(runs.map(run => run.without_maps).filter(Boolean))].join("; ");
  $("looked").parentElement.parentElement.hidden = runs.every(run => run.without_maps);
  $("explained").textContent = without ? `Where the network looked is not shown (${without}).`
    : `Point at or focus a slice to see where the network looked (${runs[0].maps_made_of}, for the class ${view().positive}). ${[...new Set(runs.map(run => run.maps_say))].join(" ")}`;
  rows = runs.flatMap((run, n) => run.slices.map((slice, i) => ({ run: n, at: i, slice, label: run.labels[i], score: run.scores[i],
    weight: run.weights?.[i] ?? null, patient: patients.indexOf(data.slices.patient[slice]), ofPatient: ofPatient(run, slice) })));
  // Where patients were scored, the slices that decided come first, those of patients who were misjudged before others.
  const weighted = runs.some(run => run.weights);
  $("order").querySelector("[value=decided]").hidden = !weighted;
  if (weighted || $("order").value === "decided") $("order").value = weighted ? "decided" : "worst";
  $("pooled").hidden = !weighted;
  near.disconnect();
  rows.forEach(makeCard);
  changeRows();
}

function chosen() {
  return $("run").value === "" ? rows : rows.filter(row => row.run === Number($("run").value));
}

function changeRows() {
  const some = chosen();
  const patients = [...new Set(some.map(row => data.slices.patient[row.slice]))].sort();
  fill($("patient"), [["", `all ${patients.length}`], ...patients.map(key => [key, key])]);
  const scores = [...new Set(some.map(row => row.score))].sort((a, b) => a - b);
  // Above the highest score as well: there nothing is called positive.
  thresholds = [...scores, Infinity];
  $("threshold").max = thresholds.length - 1;
  drawCurve(some);
  decide();
  list();
}

// Scores of two runs are of two networks: a curve a run, and the AUROC of the pairs within runs, as in the report.
function drawCurve(some) {
  let pairs = 0, ordered = 0, path = "";
  for (const number of new Set(some.map(row => row.run))) {
    const part = some.filter(row => row.run === number).sort((a, b) => b.score - a.score);
    const positives = part.filter(row => row.label).length, negatives = part.length - positives;
    if (!positives || !negatives) continue;
    pairs += positives * negatives;
    path += "M0 220";
    for (let i = 0, found = 0, passed = 0; i < part.length;) {
      let end = i, hits = 0;
      for (; end < part.length && part[end].score === part[i].score; end++) hits += part[end].label;
      ordered += (end - i - hits) * (found + hits / 2);
      found += hits; passed += end - i - hits; i = end;
      path += `L${(220 * passed / negatives).toFixed(2)} ${(220 * (1 - found / positives)).toFixed(2)}`;
    }
  }
  const positives = some.filter(row => row.label).length;
  $("curve").setAttribute("d", path);
  $("area").textContent = !pairs ? `AUROC n/a: no run has slices of both classes`
    : `Per-slice AUROC ${(ordered / pairs).toFixed(3)}, ${positives} ${view().says[1]} and ${some.length - positives} ${view().says[0]} slices`;
}

// Say of every row what its decision is, and count them.
function decide() {
  const some = chosen(), counts = { TP: 0, FP: 0, TN: 0, FN: 0 }, runs = view().runs;
  for (const row of some) {
    const called = row.score >= (threshold ?? runs[row.run].threshold);
    row.outcome = (called === Boolean(row.label) ? "T" : "F") + (called ? "P" : "N");
    counts[row.outcome] += 1;
    row.verdict.textContent = NAMES[row.outcome];
    row.verdict.className = `outcome ${row.outcome}`;
  }
  for (const name in counts) $(name).textContent = counts[name];
  const sensitivity = counts.TP / (counts.TP + counts.FN), specificity = counts.TN / (counts.TN + counts.FP);
  const say = (value, why) => isNaN(value) ? `n/a: ${why}` : value.toFixed(3);
  $("sensitivity").textContent = say(sensitivity, "no positives");
  $("specificity").textContent = say(specificity, "no negatives");
  $("balanced").textContent = say((sensitivity + specificity) / 2, "a class is missing");
  $("point").setAttribute("cx", 220 * (1 - (isNaN(specificity) ? 1 : specificity)));
  $("point").setAttribute("cy", 220 * (1 - (isNaN(sensitivity) ? 0 : sensitivity)));
  const own = [...new Set(some.map(row => runs[row.run].threshold))].sort((a, b) => a - b);
  if (threshold === null) {
    const middle = own[Math.floor(own.length / 2)];
    $("threshold").value = thresholds.findIndex(value => value >= middle);
  }
  const ends = new Set([threshold ?? own[0], threshold ?? own.at(-1)].map(value => value.toFixed(3)));
  const text = threshold === Infinity ? "above every score" : [...ends].join(" to ");
  $("value").textContent = text;
  $("threshold").setAttribute("aria-valuetext", text);
  $("own").setAttribute("aria-pressed", threshold === null);
}

function list() {
  const patient = $("patient").value, show = $("show").value, some = chosen();
  listed = some.filter(row => (!patient || data.slices.patient[row.slice] === patient) && (!show || row.outcome === show));
  listed.sort(ORDERS[$("order").value]);
  $("slices").replaceChildren(...listed.map(row => row.item));
  $("shown").textContent = `${listed.length} of ${some.length} slices`;
  $("none").hidden = listed.length > 0;
  select(0, false);
}

function select(index, focus = true) {
  listed[current]?.button.removeAttribute("aria-current");
  if (!listed.length) return;
  current = Math.max(0, Math.min(listed.length - 1, index));
  rows.forEach(row => { if (row.button.hasAttribute("aria-current")) row.button.removeAttribute("aria-current"); });
  const row = listed[current];
  row.button.setAttribute("aria-current", "true");
  if (focus && !$("large").open) { row.button.focus({ preventScroll: true }); row.item.scrollIntoView({ block: "nearest" }); }
  if ($("large").open) enlarge();
}

// The large view shows the stack of the current slice: what is scrolled to is told of, the list stays where it is.
const OUTCOMES = { FN: "#e5354b", FP: "#e08a3c", TP: "#2f9e77", TN: "#4b545e" };
let shown = null; // the row that the large view tells of: a slice of the same run
const rowAt = slice => rows.find(row => row.run === listed[current].run && row.slice === slice.at);
const overlay = element("canvas");
const viewer = new Viewer($("stack"), {
  marks: (series, slice) => {
    const row = rowAt(slice);
    return $("marked").checked ? [...data.slices.marks[slice.at], ...(row && view().runs[row.run].marks?.[row.at] || [])] : [];
  },
  over: (series, slice) => { const row = rowAt(slice); return $("looked").checked && row && paint(overlay, row) ? overlay : null; },
  level: (series, slice) => rowAt(slice)?.score ?? 0, // the strip is the score over the position
  tint: (series, slice) => OUTCOMES[rowAt(slice)?.outcome],
  moved: pane => tell(pane.slice.at),
});
// Of several sequences each has a pane of its own, linked by position; where one lacks there is nothing to scroll to.
function stacksOf(slice) {
  const all = data.slices, mine = all.key.map((key, at) => at).filter(at => all.stack[at] === all.stack[slice]);
  const panes = all.sequences.length ? all.sequences : [{ name: "" }];
  return panes.map(({ name, picture }, pane) => {
    const pictures = pane ? picture : all.picture, there = mine.filter(at => pictures[at]);
    return { key: `${all.stack[slice]} ${name}`, title: name, pane, plane: 0, edges: [], axes: [], orientation: "", rows: data.rows, cols: data.cols,
      spacing: [1, 1], bits: 8, low: 0, high: 255, window: [Number($("centre").value), Number($("width").value)], presets: [], block: "",
      start: Math.max(0, there.indexOf(slice)), slices: there.map(at => ({ key: all.key[at], number: pane ? null : all.image[at], position: all.position[at], image: pictures[at], at })) };
  }).filter(stack => stack.slices.length);
}

function enlarge() {
  const slice = listed[current].slice;
  if (!$("large").open) $("large").showModal();
  viewer.show({ key: data.slices.patient[slice], series: stacksOf(slice) });
  tell(slice);
}

function tell(slice) {
  const slices = data.slices, run = view().runs[listed[current].run];
  const row = shown = rows.find(one => one.run === listed[current].run && one.slice === slice) ?? null;
  $("stack").setAttribute("aria-label", `slice ${slices.key[slice]}`);
  $("large-title").textContent = row ? NAMES[row.outcome] : "not in the test set of this run";
  const position = slices.position[slice];
  const facts = [["slice", slices.key[slice]], ["patient", slices.patient[slice]]];
  if (slices.image[slice] !== null) facts.push(["image", slices.image[slice]]);
  if (row) facts.push(["reference standard", view().says[Number(Boolean(row.label))]],
    ["score", row.score.toFixed(4)], ["threshold", (threshold ?? run.threshold).toFixed(4)],
    ["patient's score", run.patients[slices.patient[slice]].toFixed(4)], ["per-patient threshold", run.patient_threshold.toFixed(4)]);
  if (row && row.weight !== null) facts.push(["weight in the patient's score", `${(100 * row.weight).toFixed(1)}%`]);
  facts.push(["fold", run.fold], ["seed", run.seed]);
  if (slices.site[slice]) facts.push(["site", slices.site[slice]]);
  if (position !== null) facts.push(["position", `${position.toFixed(1).replace("-", "−")} mm`]);
  facts.push(["position in list", `${current + 1} of ${listed.length}`]);
  $("large-facts").replaceChildren(...facts.flatMap(([name, value]) => [element("dt", "", name), element("dd", "", value)]));
  $("without").textContent = run.without_maps ? `n/a: ${run.without_maps}` : !row || paint(overlay, row) ? "" : `nowhere: no part of the slice raised the score of ${view().says[1]}`;
  $("marked").parentElement.hidden = !data.slices.marks[slice].length && !run.marks;
  $("doubt").checked = doubted.has(slice);
  $("doubt").disabled = !row;
}

// Labels that a reader doubts, until they are saved as a table for whoever keeps the labels.
const doubted = new Map();
let saved = true;
function doubt() {
  const row = shown;
  if ($("doubt").checked) doubted.set(row.slice, row); else doubted.delete(row.slice);
  saved = !doubted.size;
  $("save").hidden = saved;
  $("save").textContent = `save ${doubted.size} flagged label${doubted.size > 1 ? "s" : ""}`;
}
function save() {
  const lines = [...doubted.values()].map(row => [data.slices.key[row.slice], data.slices.patient[row.slice], data.slices.image[row.slice] ?? "",
    row.label ? view().positive : view().rest, row.score].map(cell => /[",\n]/.test(cell) ? `"${String(cell).replaceAll('"', '""')}"` : cell).join(","));
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([["slice_key,patient_key,image_number,label,score", ...lines, ""].join("\n")], { type: "text/csv" }));
  link.download = "doubted_labels.csv";
  link.click();
  saved = true;
}

// Centre and width of the window, on the 256 grey values of the pictures.
function setWindow() {
  const centre = Number($("centre").value), width = Number($("width").value);
  for (const channel of document.querySelectorAll("#window feFuncR, #window feFuncG, #window feFuncB")) {
    channel.setAttribute("slope", 255 / width);
    channel.setAttribute("intercept", .5 - centre / width);
  }
}

$("view").addEventListener("change", () => { threshold = null; changeView(); });
$("run").addEventListener("change", () => { threshold = null; changeRows(); });
for (const id of ["patient", "show", "order"]) $(id).addEventListener("change", list);
// While the slider moves, counts follow; the slices are set in their new order when it is let go.
$("threshold").addEventListener("input", () => { threshold = thresholds[$("threshold").value]; decide(); });
$("threshold").addEventListener("change", list);
$("own").addEventListener("click", () => { threshold = null; decide(); list(); });
$("previous").addEventListener("click", () => select(current - 1));
$("next").addEventListener("click", () => select(current + 1));
for (const id of ["looked", "marked"]) $(id).addEventListener("change", () => viewer.draw());
for (const id of ["centre", "width"]) $(id).addEventListener("input", setWindow);
$("doubt").addEventListener("change", doubt);
$("save").addEventListener("click", save);
addEventListener("beforeunload", event => { if (!saved) event.preventDefault(); });
$("large").addEventListener("close", () => select(current));
document.addEventListener("keydown", event => {
  if (["SELECT", "INPUT"].includes(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey) return;
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step) { event.preventDefault(); select(current + step); }
  else if ($("large").open && event.key !== "Tab" && viewer.key(event)) event.preventDefault();
});
fill($("view"), data.views.map((shown, n) => [n, shown.name + (shown.mark ? ` (${shown.mark})` : "")]));
$("view").value = data.first;
changeView();
