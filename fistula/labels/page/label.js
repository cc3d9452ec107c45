"use strict";
const $ = id => document.querySelector(id);
const facts = JSON.parse($("#facts").textContent);
const TONES = ["#5aa9e6", "#f2994a", "#c08bf0", "#4fc08d", "#ef6f8c", "#e3d04f", "#7ad7d0", "#d98cb3", "#a3b86c", "#b0a090"], UNSURE = "#8e9aa5";
const tone = label => facts.classes.length === 2 || label < 2 ? TONES[label] : TONES[label % TONES.length];
const isOfSlices = facts.level === "slice", isScore = facts.question === "score", kinds = kindsOf(facts);
let keep, state, turn, patient, isReady = false, first = null, answered = null, since = 0; // keys of the first slice of a range, of the last answered one
const loaded = new Map();

const viewer = new Viewer($("#viewer"), {
  marks: (series, slice) => {
    const answer = state.answer(turn, isOfSlices ? slice.key : patient.key), aid = aidOf(slice);
    const own = isOfSlices || answer.slice === slice.key ? kinds.filter(kind => answer[kind]) : [];
    return [...own.map(kind => ({ kind, row: answer[kind][0], col: answer[kind][1] })),
      ...(aid && aid.row !== undefined ? [{ kind: "found", row: aid.row, col: aid.col }] : [])];
  },
  level: (series, slice) => aidOf(slice)?.score ?? 1,
  tint: (series, slice) => {
    const answer = state.answer(turn, isOfSlices ? slice.key : patient.key);
    if (!slice.asked) return "#14181c";
    if (aidOf(slice)) return "#ff8f6b";
    if (isDial(facts)) return answer.label !== null ? `color-mix(in srgb, ${TONES[1]} ${answer.label}%, ${TONES[0]})` : null;
    // Of a part of the slices, those that are asked about stand out.
    return answer.label !== null ? tone(answer.label) : answer.unsure ? UNSURE : facts.is_part ? "#4d5862" : null;
  },
  point: (pane, pixel, event) => place(pane, pixel, event.altKey ? "canal" : "opening"),
  moved: () => side(), said: say, tooled: tools,
});

// What a reader who reads with AI is shown of a slice.
const aidOf = slice => turn.patient.aid?.slices[slice.key];
function say(text) {
  $("#toast").textContent = text; $("#toast").classList.add("on");
  clearTimeout(say.timer); say.timer = setTimeout(() => $("#toast").classList.remove("on"), 2200);
}
function tools(tool) { document.querySelectorAll("[data-do^=tool]").forEach(button => button.setAttribute("aria-pressed", button.dataset.do === "tool:" + tool)); }

async function load(index) {
  if (!loaded.has(index)) {
    if (loaded.size > 2) loaded.delete(loaded.keys().next().value); // pixels of a hundred patients need not stay
    const held = $("#patient-" + index);
    loaded.set(index, held ? Promise.resolve(JSON.parse(held.textContent)) : fetched("patient/" + index).then(answer => answer.json()));
  }
  const found = await loaded.get(index);
  if (!found.series.length) throw new Error("no image of this patient can be read any more; is the archive still there? Enter goes to the next");
  if (found.key !== facts.patients[index].key) throw new Error("the server shows other patients now: reload this page");
  return found;
}
function fetched(path) {
  return fetch(path).catch(() => null).then(async answer => {
    if (answer && answer.ok) return answer;
    throw new Error(answer && answer.status === 507 ? await answer.text() : "the server is not responding. If its command has ended, repeat it; if it prints another address, open that");
  });
}
async function go(next) {
  spend();
  isReady = false; // a key that comes meanwhile is meant for slices that nobody sees yet
  try { patient = await load(next.index); next.isLost = false; } catch (error) {
    loaded.delete(next.index); next.isLost = true;
    if (!patient) throw error;
    return say(error.message);
  } finally { isReady = Boolean(patient); }
  turn = next; first = null;
  turn.patient.asked = patient.series.flatMap(series => series.slices).filter(slice => slice.asked).length;
  since = performance.now();
  for (const series of isOfSlices ? patient.series : []) {
    series.start = [series.slices.findIndex(isOpen), series.slices.findIndex(slice => slice.asked), 0].find(at => at >= 0);
  }
  viewer.show(patient);
  const unread = viewer.active.list.findIndex(series => series.slices.some(isOpen));
  if (isOfSlices && unread > 0) viewer.active.change(unread);
  refresh();
  const after = state.turns[state.turns.indexOf(turn) + 1];
  if (after && facts.served) load(after.index).catch(() => loaded.delete(after.index));
}
// Where a slice stands in the active stack, or null.
function at(key) {
  const index = isOfSlices && key ? viewer.active.series.slices.findIndex(slice => slice.key === key) : -1;
  return index < 0 ? null : index;
}
function isOpen(slice) { return slice.asked && !state.isAnswered(state.answer(turn, slice.key)); }
// Show a slice of the first pane; at the level of patients none is named.
function seek(key) {
  const pane = viewer.panes[0], at = pane.list.findIndex(series => series.slices.some(slice => slice.key === key));
  if (at < 0) return;
  viewer.activate(pane);
  if (at !== pane.at) pane.change(at);
  pane.go(pane.series.slices.findIndex(slice => slice.key === key));
}
function spend() { // seconds before this patient; a break of minutes is no reading time
  if (turn && since) turn.record.seconds += Math.min(300, (performance.now() - since) / 1000);
  since = performance.now();
}

// What an answer is about: slices of the active stack, or the patient.
function target(from, to) {
  if (!isOfSlices) return [patient.key];
  const { series, index } = viewer.active, [low, high] = [Math.min(from ?? index, to ?? index), Math.max(from ?? index, to ?? index)];
  return series.slices.slice(low, high + 1).filter(slice => slice.asked).map(slice => slice.key);
}
function facts_(slice, series) { // what the table says of a slice
  return { pixel: series.has_spacing ? series.spacing.join("x") : "", position: slice.position };
}
function change(keys, what) {
  if (!keys.length) { say("this slice needs no answer"); return false; }
  const { series } = viewer.active, slices = new Map(series.slices.map(slice => [slice.key, slice]));
  spend();
  state.set(turn, keys.map(key => {
    const merged = { ...state.answer(turn, key), ...what };
    const hours = isOfSlices ? sayClock(clock(series, merged.opening, merged.canal)) : "";
    return [key, { ...what, ...(isOfSlices ? facts_(slices.get(key), series) : {}), clock: hours }];
  }));
  refresh();
  return true;
}
function place(pane, pixel, kind) {
  if (!isReady || !kinds.includes(kind)) return;
  const slice = pane.slice, answer = state.answer(turn, isOfSlices ? slice.key : patient.key), round = value => Math.round(value * 100) / 100;
  if (!slice.asked) return say("this slice needs no answer");
  const what = { [kind]: [round(pixel.row), round(pixel.col)], ...(isOfSlices ? {} : { slice: slice.key }) };
  if (isScore) return change(isOfSlices ? [slice.key] : [patient.key], what);
  if (kind === "opening" && answer.label === 0) return say(`this slice is ${facts.classes[0]}: it has no ${facts.points[0]}. Change its answer first`);
  if (kind === "opening" && !state.isAnswered(answer) && facts.classes.length === 2) what.label = 1;
  change([slice.key], what);
}
const act = {
  answer(label, isRange) {
    const pane = viewer.active, marked = at(first);
    let anchor = marked ?? (isRange ? at(answered) : null);
    if (marked === null && anchor !== null) { // the last answered slice keeps an answer that is another
      const answer = state.answer(turn, answered);
      if (state.isAnswered(answer) && answer.label !== label) anchor += Math.sign(pane.index - anchor);
    }
    const what = label === 0 && !isScore ? { label, unsure: false, opening: null } : { label, unsure: false };
    const keys = target(anchor), lost = what.opening === null ? keys.filter(key => state.answer(turn, key).opening).length : 0;
    if (!change(keys, what)) return;
    const said = [...(anchor !== null && isOfSlices ? [`${counted(keys.length, "slice")}: ${facts.classes[label]}`] : []), ...(lost ? [`${counted(lost, facts.points[0] || "point")} removed`] : [])].join("; ");
    if (said) say(said);
    answered = isOfSlices ? pane.slice.key : null; first = null;
    if (!isScore || isOfSlices) finish(true, said);
  },
  // A score is not the last word on a patient: it may be typed on, slid, and given a place. Enter goes on.
  score(score) { change(target(), { label: score, unsure: false }); },
  type(digit) { act.score(typeDigit(digit, performance.now())); },
  unsure() { if (change(target(at(first)), { label: null, unsure: true })) { first = null; finish(); } },
  rest() {
    if (!isOfSlices) return;
    const keys = viewer.active.series.slices.filter(isOpen).map(slice => slice.key);
    if (!keys.length) return say("every slice of this stack is answered");
    const said = `${counted(keys.length, "slice")}: ${facts.classes[0]}`;
    if (change(keys, { label: 0 })) { say(said); finish(false, said); }
  },
  first() { if (isOfSlices) { first = viewer.active.slice.key; say(`first slice of the range: ${viewer.active.index + 1}. Go to the last slice and press its class`); } },
  clear() { change(target(at(first)), { ...EMPTY, note: state.answer(turn, target()[0]).note }); first = null; },
  unplace() { change(target(), { opening: null, canal: null, slice: null }); },
  async undo() {
    const last = state.undo();
    if (!last) return say("nothing to undo");
    say(`undone: ${last.before.length === 1 ? "1 answer" : last.before.length + " answers"}`);
    if (last.turn !== turn) await go(last.turn);
    seek(last.before[0][0]); refresh();
  },
  note() { $("#note textarea").focus(); },
  empty() {
    const { series, index } = viewer.active, size = series.slices.length;
    const open = [...Array(size).keys()].map(i => (index + 1 + i) % size).find(i => isOpen(series.slices[i]));
    if (open === undefined) say("every slice of this stack is answered"); else viewer.active.go(open);
  },
  next() {
    typed.at = 0;
    const at = state.turns.indexOf(turn), order = [...state.turns.slice(at + 1), ...state.turns.slice(0, at)];
    const open = order.filter(one => !state.isDone(one)).sort((a, b) => Boolean(a.isLost) - Boolean(b.isLost))[0];
    if (open) return go(open);
    if (!state.isDone(turn)) return say("this is the only incomplete patient");
    say(ended());
  },
  back() { const at = state.turns.indexOf(turn); if (at > 0) go(state.turns[at - 1]); },
  help() { $("#help").open ? $("#help").close() : $("#help").showModal(); $("#help").scrollTop = 0; },
  preset() { say(`window: ${viewer.preset()}`); }, invert() { viewer.invert(); }, reset() { viewer.reset(); },
  beside() { viewer.beside(); },
  tool(name) { viewer.setTool(name); },
  export() {
    const link = document.createElement("a"), date = today();
    link.href = URL.createObjectURL(new Blob([toCsv(state)], { type: "text/csv" }));
    const session = facts.session ? `-session-${facts.session}` : "", part = facts.page[1] > 1 ? `-page-${facts.page[0]}` : "";
    link.download = `${isScore ? "readings" : "labels"}-${state.reader.replace(/[^\p{L}\p{N}]+/gu, "_")}${session}${part}-${date}.csv`;
    link.click(); setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    say(`${rowsOf(state).length} answers exported`);
  },
  import() { $("#file").click(); },
};
function ended() {
  const [page, of] = facts.page, here = of > 1 ? " of this page" : "";
  return `every patient${here} is answered. ` + (facts.served ? "You may close the page" : "Export the table now" + (page < of ? `, then open page ${page + 1}` : ""));
}
// After an answer: the next slice, the next stack, or the next patient, unless an opening is still to be placed.
function finish(isStep = true, said = "") {
  const pane = viewer.active;
  if (!state.isDone(turn)) {
    const isFull = isOfSlices && !pane.series.slices.some(isOpen);
    if (isFull && pane.list.length > 1) pane.change((pane.at + 1) % pane.list.length);
    else if (isStep && isOfSlices) {
      const next = pane.series.slices.findIndex((slice, i) => i > pane.index && slice.asked);
      if (next > 0) pane.go(next);
    }
    return;
  }
  const answers = Object.values(turn.record.answers), positive = answers.filter(answer => answer.label > 0);
  if (kinds.length && facts.classes.length === 2 && positive.length && !answers.some(answer => answer.opening)) {
    const keys = Object.keys(turn.record.answers).filter(key => turn.record.answers[key].label > 0);
    if (isOfSlices) seek(keys[keys.length >> 1]);
    return say(`all answered. Click the ${facts.points[0]} where you see it, or press Enter to continue`);
  }
  if (state.turns.every(one => state.isDone(one))) return say(ended());
  say(`${said ? said + "; " : ""}patient complete; Backspace undoes the last answer`);
  act.next();
}
