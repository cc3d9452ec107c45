"use strict";
// The panel beside the image, the start, and who gets which key.
function counts() {
  const answers = Object.values(turn.record.answers);
  if (isDial(facts)) return [];
  return [...facts.classes.map((_, label) => answers.filter(answer => answer.label === label).length), answers.filter(answer => answer.unsure).length];
}
function counted(number, noun) { return `${number} ${noun}${number === 1 ? "" : "s"}`; }
function refresh() { viewer.draw(); side(); total(); }
function side() {
  if (!turn || !viewer.active || !viewer.active.slice) return;
  const { slice, series } = viewer.active, answer = state.answer(turn, isOfSlices ? slice.key : patient.key), number = counts();
  document.querySelectorAll("#answers button").forEach((button, i) => {
    const isUnsure = button.dataset.do === "unsure", isRest = button.dataset.do === "rest";
    button.setAttribute("aria-pressed", isRest ? false : isUnsure ? answer.unsure : answer.label === i);
    button.querySelector(".count").textContent = isOfSlices && !isRest ? number[isUnsure ? facts.classes.length : i] || "" : "";
  });
  if (isDial(facts)) turnDial($("#answers .dial"), answer.label);
  showAid();
  const done = state.done(turn), wanted = state.wanted(turn);
  $("#patient b").textContent = `Patient ${state.turns.indexOf(turn) + 1} of ${state.turns.length}`;
  $("#patient span").textContent = isOfSlices ? `${done} / ${wanted} ${wanted === 1 ? "slice" : "slices"}` : done ? "answered" : "";
  $("#patient .bar i").style.width = `${100 * Math.min(1, done / wanted)}%`;
  if (document.activeElement !== $("#note textarea")) $("#note textarea").value = answer.note;
  const where = point => `row ${point[0].toFixed(0)}, col ${point[1].toFixed(0)}`;
  const hours = clock(series, answer.opening, answer.canal);
  const far = answer.opening && answer.canal && series.axes.length === 6 && series.has_spacing ? Math.hypot(...offset(series, answer.opening, answer.canal)) : null;
  const isElsewhere = answer.opening && answer.slice && answer.slice !== slice.key;
  const lines = kinds.map((kind, i) => [kind, `${i ? "✛" : "◯"} ${facts.points[i]}`, answer[kind] ? isElsewhere ? "on another slice" : where(answer[kind]) : i ? "Alt+click" : "click"]);
  if (hours !== null) lines.push(["", `${sayClock(hours)} o'clock`, far === null ? "" : `${far.toFixed(1)} mm apart`]);
  $("#place").replaceChildren(...lines.map(([kind, name, value]) => {
    const line = document.createElement("div"), first = document.createElement("b"), second = document.createElement("span");
    first.className = kind; first.textContent = name; second.textContent = value; line.append(first, second);
    return line;
  }));
}
function showAid() {
  const { modality, aid } = turn.patient, box = $("#aid");
  box.replaceChildren();
  if (!modality || facts.sessions < 2) return; // where nobody reads with AI, nothing has to be said
  const title = document.createElement("b"), words = document.createElement("span");
  title.textContent = `Read ${aid ? modality : "unaided"}`; box.append(title, words); box.classList.toggle("with", Boolean(aid));
  if (!aid) return;
  words.textContent = aidWords(aid, viewer.active.list);
}
function total() {
  const done = state.turns.filter(one => state.isDone(one)).length;
  $("#total span").textContent = `${done} of ${state.turns.length} answered`;
  $("#total .bar i").style.width = `${100 * done / state.turns.length}%`;
  $("#saved").textContent = facts.served ? state.sent || "" : state.kept ? "kept in this browser" : "this browser stores nothing: export before you close it";
  $("#saved").classList.toggle("failed", facts.served ? Boolean(state.failed) : !state.kept);
}
function button(action, key, name, color) {
  const element = document.createElement("button");
  element.dataset.do = action; element.style.setProperty("--tone", color);
  element.innerHTML = '<kbd></kbd><i class="dot"></i><span class="name"></span><span class="count"></span>';
  element.querySelector("kbd").textContent = key; element.querySelector(".name").textContent = name;
  return element;
}
// To the server, the last change of each patient once; what fails is sent again.
const unsent = new Set();
async function send(one) {
  unsent.add(one);
  if (send.busy) return;
  send.busy = true;
  while (unsent.size) {
    const turns = [...unsent]; unsent.clear();
    const rows = rowsOf(state, turns), scope = turns.map(turn => [turn.patient.key, turn.repeat]), saves = turns.map(turn => turn.record.saves);
    try {
      const answer = await fetch("save", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ reader: state.reader, scope, rows }) });
      if (!answer.ok) throw new Error(await answer.text() || answer.status);
      state.sent = "saved in labels.csv"; state.failed = false;
      turns.forEach((turn, i) => state.confirm(turn, saves[i]));
    } catch (error) {
      turns.forEach(turn => unsent.add(turn)); state.failed = true;
      const why = error instanceof TypeError ? "the server is not responding; repeat its command" : error.message;
      state.sent = `not saved: ${why}. ${state.kept ? "Kept in this browser, and sent again" : "Export CSV before you close this page"}`;
      clearTimeout(send.again); send.again = setTimeout(() => unsent.size && send(turns[0]), 5000);
      break;
    }
  }
  send.busy = false; total();
}
// Nobody begins without a patient, nor without the answers in the table, which the next save would replace.
async function begin(reader) {
  state = new State(facts, reader, keep);
  state.held = () => state && total();
  let why;
  try {
    if (facts.served) {
      const waiting = state.turns.filter(one => one.record.unsent).map(one => [one, { ...one.record.answers }]);
      fromCsv(state, await (await fetched("answers?reader=" + encodeURIComponent(reader))).text());
      state.saved = send;
      // What never reached the table is later than what stands there.
      for (const [one, answers] of waiting) { Object.assign(one.record.answers, answers); state.save(one); }
    }
    $("#who").textContent = "reader " + reader;
    const open = state.turns.filter(one => !state.isDone(one));
    for (const one of open.length ? open : state.turns) {
      try { return await go(one); } catch (error) { why ??= error; }
    }
  } catch (error) { why = error; }
  state = undefined; $("#start .soft").textContent = why.message;
  $("#start").showModal();
}
function planned(patients) {
  if (!facts.session) return "";
  const aided = patients.filter(one => one.aid).length;
  return (facts.sessions > 1 ? `Session ${facts.session} of ${facts.sessions}: ${patients.length - aided} read unaided, ${aided} with AI. ` : "") +
    (facts.session > 1 ? `It opens ${facts.washout} weeks after the last patient of session ${facts.session - 1}. ` : "");
}
function either(names) { return `${names.slice(0, -1).join(", ")} or ${names.at(-1)}`; }
// A later session opens when the washout is over: by the date that the reader gives, and none before what this browser knows.
function askWhenEnded() {
  const ended = $("#ended"), reader = () => $("#name").value.trim();
  $("#washout").hidden = false; $("#washout span").textContent = `Your last patient of session ${facts.session - 1} was on`;
  ended.required = true; ended.max = today();
  const look = () => {
    const known = lastReading(facts, facts.session - 1, reader());
    if (known > ended.value) ended.value = known;
    const opens = ended.value && opensOn(ended.value, facts.washout);
    ended.setCustomValidity(opens > today() ? `Session ${facts.session} opens on ${opens}.` : "");
    $("#begin").disabled = opens > today();
    $("#start .soft").textContent = ended.validationMessage && ended.value ? ended.validationMessage : SOFT;
  };
  ended.addEventListener("input", look); $("#name").addEventListener("input", look);
  look();
}
let SOFT = facts.served ? "Each answer is saved in labels.csv on this machine." : "Answers stay in this browser until you export them; the same page and name resume where they stopped.";
function start() {
  const words = isOfSlices ? "each slice" : "each patient", shown = words.replace("each", "this");
  $("#asks").textContent = facts.question === "score" ? `How suspicious is ${shown}?` : `What does ${shown} show?`;
  $("#answers").append(...(isDial(facts) ? [dial(facts, act.score)] : facts.classes.map((name, i) => button("answer:" + i, keyOf(facts, i), name, tone(i)))),
    ...(isScore ? [] : [button("unsure", "U", "unsure", UNSURE)]),
    ...(isOfSlices ? [button("rest", "N", `rest ${facts.classes[0]}`, tone(0))] : []));
  const keys = isDial(facts) ? "type 0–100" : `${keyOf(facts, 0)}–${keyOf(facts, facts.classes.length - 1)} answers`;
  const clicks = kinds.map((kind, i) => ` · ${i ? "Alt+click" : "click"} ${facts.points[i]}`).join("");
  $("#hints").textContent = `wheel or ↑ ↓ scrolls · ${keys}` + (isOfSlices
    ? `${isDial(facts) ? "" : " · Shift+key a range"} · N rest ${facts.classes[0]}${clicks}` : `${clicks} · Enter next patient`) + " · right drag window · ? all keys";
  fillHelp($("#help .keys"), facts);
  if (facts.served) $("#help .kept").textContent = SOFT;
  viewer.setTool("scroll");
  const patients = facts.patients.filter(one => one.asked > 0);
  const again = Math.round(facts.repeat * patients.length);
  $("#start .what").textContent = (facts.page[1] > 1 ? `Page ${facts.page.join(" of ")}, with its own table: ` : "") + `${counted(patients.length, "patient")}, ${counted(patients.reduce((sum, one) => sum + one.asked, 0), "slice")}${facts.is_part ? " to answer, the others of their stacks for comparison" : ""}. ` +
    (again ? `${again} of the patients appear${again === 1 ? "s" : ""} twice. ` : "") + planned(patients) + (isDial(facts)
    ? `Rate how suspicious ${words} is, from 0 (${facts.classes[0]}) to 100 (${facts.classes[1]}).` : `Classify ${words}: ${either(facts.classes)}.`);
  const point = kinds.length ? [kinds.map((kind, i) => `${i ? "Alt-click" : "Click"} the ${facts.points[i]}`).join("; ") + (isScore ? " where you suspect it." : ".")] : [];
  const steps = isScore
    ? ["Scroll with the wheel or the arrow keys.", isDial(facts) ? "Type the score, or drag the slider." : `Press ${facts.classes.map((name, i) => `${keyOf(facts, i)} for ${name}`).join(", ")}.`,
      ...point, isOfSlices ? `N answers the rest as ${facts.classes[0]}; Enter goes to the next patient.` : "Enter goes to the next patient. Reading time is recorded."]
    : isOfSlices
    ? ["Scroll with the wheel or the arrow keys.", `Press ${facts.classes.map((name, i) => `${i} for ${name}`).join(", ")}; Shift and the key answers all slices since the last answered one.`,
      ...point, `N answers the rest as ${facts.classes[0]}; then the next patient appears.`]
    : ["Scroll with the wheel or the arrow keys.", `Press ${facts.classes.map((name, i) => `${i} for ${name}`).join(", ")}; then the next patient appears.`];
  for (const text of [...steps, "Backspace undoes, ? shows all keys. Export CSV when you are done, or for a copy at any time."]) {
    const item = document.createElement("li"); item.textContent = text; $("#start ol").append(item);
  }
  // Nobody begins under another's name, or goes on with answers unawares.
  const kept = State.kept(keep, facts.id);
  if (kept.length) SOFT = `This browser keeps answers to this question: ${kept.map(([reader, number]) => `${reader} ${number}`).join(", ")}. The same name resumes them.`;
  $("#start .soft").textContent = SOFT;
  $("#name").value = facts.reader || (kept.length === 1 ? kept[0][0] : ""); $("#name").readOnly = Boolean(facts.reader);
  if (facts.session > 1 && facts.washout > 0) askWhenEnded();
  $("#start form").addEventListener("submit", () => begin($("#name").value.trim()));
  $("#start").addEventListener("close", () => { if (!state) $("#start").showModal(); }); // Escape leaves no page without a reader
  $("#start").showModal();
}
document.addEventListener("click", event => {
  const element = event.target.closest("[data-do]");
  if (!element || !isReady) return;
  const [action, argument] = element.dataset.do.split(":");
  if (event.detail) element.blur(); // of the mouse; by the keyboard it is pressed again
  act[action](action === "answer" ? Number(argument) : argument, event.shiftKey);
});
document.addEventListener("keydown", event => {
  if (event.target.matches("textarea,input")) { if (event.key === "Escape") event.target.blur(); return; }
  if ($("#start").open || !isReady) return;
  if ($("#help").open && event.key !== "?") return;
  if (event.key === "F6") { event.preventDefault(); return $("header button").focus(); }
  if (event.target.matches("button")) {
    if (event.key === "Escape") event.target.blur();
    if (["Tab", "Enter", "Escape", " "].includes(event.key)) return;
  }
  const action = actionOf(event, facts);
  if (action) { event.preventDefault(); act[action[0]](...action.slice(1)); }
  else if (viewer.key(event)) event.preventDefault();
});
$("#note textarea").addEventListener("change", event => change(target().slice(0, 1), { note: event.target.value.trim() }));
$("#file").addEventListener("change", async event => {
  const [file] = event.target.files; event.target.value = "";
  try { say(fromCsv(state, await file.text())); } catch (error) { say(error.message); }
  refresh();
});
// Two tabs would write over one another's answers, of the patient on view and of every other.
window.addEventListener("storage", event => {
  const other = state && state.turns.find(one => state.name(one) === event.key);
  if (!other) return;
  other.record = state.read(other);
  if (turn) { refresh(); say("answered in another tab: close one of the two"); }
});
// What no browser keeps and no table has would be gone.
window.addEventListener("beforeunload", event => { if (state && state.history.length && (facts.served ? send.busy || unsent.size : !state.kept)) event.preventDefault(); });
window.addEventListener("pagehide", () => { if (turn) { spend(); facts.served ? state.hold(turn) : state.save(turn); } }); // seconds alone are no answer
Keep.open(`fistula-label:${facts.id}:`).then(found => { keep = found; start(); });
