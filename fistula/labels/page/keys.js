"use strict";
// Every key, once: what the help shows is what the page does.
function helpOf(facts) {
  const several = facts.level === "slice", isScore = facts.question === "score", last = facts.classes.length - 1;
  const answers = isScore && facts.top === 100 ? [[["0…9"], "type the score, 0 to 100"]] : facts.classes.map((name, i) => [[keyOf(facts, i)], name]);
  const canUnsure = !isScore, isRange = several && !(isScore && facts.top === 100);
  const groups = {
    "Answer": [...answers, ...(canUnsure ? [[["U"], "unsure (also an answer)"]] : []),
      ...(several ? [[["N"], `rest ${facts.classes[0]}: all unanswered slices of the stack`]] : []),
      ...(isRange ? [[["⇧", keyOf(facts, 0) + "…" + keyOf(facts, last)], "all slices since the last answered one, or from the first marked one"], [["F"], "mark the first slice of a range"]] : []),
      [["C"], "clear"], [["⌫"], "undo (also Ctrl+Z)"], [["T"], "note; Esc closes it"]],
    "Mark": kindsOf(facts).length ? [...kindsOf(facts).map((kind, i) => [i ? ["Alt", "click"] : ["click"], facts.points[i]]),
      [["X"], several ? "remove the points of this slice" : "remove it"]] : [],
    "Navigate": [[["↵"], "next incomplete patient"], [["⇧", "↵"], "previous patient"], ...(several ? [[["E"], "next unanswered slice"]] : []),
      [["↑", "↓"], "previous, next slice; wheel"], [["PgUp", "PgDn"], "ten slices"], [["Home", "End"], "first, last"],
      [["Tab"], "next stack, or next pane"], [["B"], "show another stack beside"], [["F6"], "to the buttons: Tab from one to the next, Esc back"]],
    "View": [[["S"], "drag scrolls"], [["W"], "drag sets the window; right drag"], [["V"], "next preset window"], [["I"], "invert"],
      [["P"], "drag pans; middle drag"], [["Z"], "drag zooms; Ctrl+wheel, +, −"], [["R"], "reset"], [["?"], "these keys"]],
  };
  return Object.entries(groups).filter(([, keys]) => keys.length);
}

function fillHelp(element, facts) {
  for (const [title, keys] of helpOf(facts)) {
    const section = document.createElement("section"), heading = document.createElement("h2"), all = document.createElement("dl");
    heading.textContent = title; section.append(heading, all);
    for (const [names, says] of keys) {
      const row = document.createElement("div"), dt = document.createElement("dt"), dd = document.createElement("dd");
      names.forEach(name => { const key = document.createElement("kbd"); key.textContent = name; dt.append(key); });
      dd.textContent = says; row.append(dt, dd); all.append(row);
    }
    element.append(section);
  }
}

// The points that are asked for: of a reader study one alone, and of a patient as a whole too.
function kindsOf(facts) {
  const most = facts.question === "score" ? 1 : facts.level === "slice" ? 2 : 0;
  return ["opening", "canal"].slice(0, Math.min(most, facts.points.length));
}

// Degrees of suspicion count from 1, and the tenth has the key 0; classes count from 0.
function keyOf(facts, i) { return String(facts.question === "score" ? (i + 1) % 10 : i); }

// Gives what a key does as [action, argument, shift], or null.
function actionOf(event, facts) {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") return ["undo"];
  if (event.ctrlKey || event.metaKey || event.altKey) return null;
  const digit = /^(?:Digit|Numpad)(\d)$/.exec(event.code); // with Shift, event.key is another character on each keyboard
  if (digit && facts.question === "score" && facts.top === 100) return ["type", Number(digit[1])];
  const at = digit ? facts.classes.findIndex((_, i) => keyOf(facts, i) === digit[1]) : -1;
  if (at >= 0) return ["answer", at, event.shiftKey];
  const actions = { u: "unsure", n: "rest", f: "first", c: "clear", x: "unplace", t: "note", e: "empty", backspace: "undo", "?": "help", h: "help", f1: "help" };
  const key = event.key.toLowerCase();
  if (key === "u" && facts.question === "score") return null;
  if (key === "enter") return [event.shiftKey ? "back" : "next"];
  return key in actions ? [actions[key]] : null;
}
