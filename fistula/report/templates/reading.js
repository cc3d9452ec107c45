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
  const image = element("img");
  button.type = "button";
  frame.style.aspectRatio = data.aspect;
  image.alt = "";
  image.dataset.slice = row.slice;
  near.observe(image);
  frame.append(image);
  row.verdict = element("span", "outcome");
  const run = view().runs[row.run];
  text.append(row.verdict, element("span", "", `score ${row.score.toFixed(3)} · fold ${run.fold}`),
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

function changeView() {
  const runs = view().runs;
  const seeds = new Set(runs.map(run => run.seed)).size > 1;
  fill($("run"), [["", "all"], ...runs.map((run, n) => [n, `fold ${run.fold}${seeds ? `, seed ${run.seed}` : ""}`])]);
  $("marks").replaceChildren(...[view().mark, ...view().warnings].filter(Boolean).map(text => element("p", "mark", text)));
  runs.forEach(unpack);
  const without = [...new Set(runs.map(run => run.without_maps).filter(Boolean))].join("; ");
  $("explained").textContent = without ? `Where the network looked is not shown (${without}).`
    : `Where the network looked (Grad-CAM, for the class ${view().positive}) is laid over a slice under the pointer or the focus. It shows what moved the score, not where the finding is.`;
  rows = runs.flatMap((run, n) => run.slices.map((slice, i) => ({ run: n, at: i, slice, label: run.labels[i], score: run.scores[i] })));
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
  drawCurve(some, scores);
  decide();
  list();
}

function drawCurve(some, scores) {
  const positives = some.filter(row => row.label).length, negatives = some.length - positives;
  if (!positives || !negatives) {
    $("curve").setAttribute("d", "");
    $("area").textContent = `AUROC n/a: no ${positives ? "negatives" : "positives"}`;
    return;
  }
  const at = new Map(scores.map(score => [score, [0, 0]]));
  for (const row of some) at.get(row.score)[row.label] += 1;
  let x = 0, y = 0, area = 0, path = "M0 220";
  for (const score of [...scores].reverse()) {
    const [negative, positive] = at.get(score);
    area += (negative / negatives) * (y + positive / positives / 2);
    x += negative / negatives;
    y += positive / positives;
    path += `L${(220 * x).toFixed(2)} ${(220 * (1 - y)).toFixed(2)}`;
  }
  $("curve").setAttribute("d", path);
  $("area").textContent = `AUROC ${area.toFixed(3)} of ${positives} positive and ${negatives} negative slices`;
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
  const shown = threshold ?? own[0];
  const text = threshold !== null ? (shown === Infinity ? "above every score" : shown.toFixed(3))
    : own.length === 1 ? shown.toFixed(3) : `${own[0].toFixed(3)} to ${own.at(-1).toFixed(3)}`;
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

function enlarge() {
  const row = listed[current], run = view().runs[row.run], slices = data.slices;
  $("large-picture").src = slices.picture[row.slice];
  $("large-picture").alt = `slice ${slices.key[row.slice]}`;
  $("large-title").textContent = NAMES[row.outcome];
  const position = slices.position[row.slice];
  const facts = [["slice", slices.key[row.slice]], ["patient", slices.patient[row.slice]], ["label", row.label ? "positive" : "negative"],
    ["score", row.score.toFixed(4)], ["threshold", (threshold ?? run.threshold).toFixed(4)], ["fold", run.fold], ["seed", run.seed]];
  if (slices.site[row.slice]) facts.push(["site", slices.site[row.slice]]);
  if (position !== null) facts.push(["position", `${position.toFixed(1)} mm`]);
  facts.push(["shown", `${current + 1} of ${listed.length}`]);
  $("large-facts").replaceChildren(...facts.flatMap(([name, value]) => [element("dt", "", name), element("dd", "", value)]));
  const looked = paint($("large-map"), row);
  $("large-map").classList.toggle("shown", $("looked").checked && looked);
  $("without").textContent = run.without_maps ? `n/a: ${run.without_maps}` : looked ? "" : `nowhere: nothing spoke for the class ${view().positive}`;
  if (!$("large").open) $("large").showModal();
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
$("looked").addEventListener("change", enlarge);
$("large").addEventListener("close", () => select(current));
document.addEventListener("keydown", event => {
  if (["SELECT", "INPUT"].includes(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey) return;
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step) { event.preventDefault(); select(current + step); }
});
fill($("view"), data.views.map((shown, n) => [n, shown.name + (shown.mark ? ` (${shown.mark})` : "")]));
$("view").value = data.first;
changeView();
