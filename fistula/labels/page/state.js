"use strict";
// Answers of one reader: kept in the browser after every change, each patient under a name of its own.
const EMPTY = { label: null, unsure: false, opening: null, canal: null, slice: null, note: "" };

class State {
  constructor(facts, reader, keep) {
    this.facts = facts; this.reader = reader; this.keep = keep; this.history = []; this.kept = true;
    this.turns = turnsOf(facts, reader);
    for (const turn of this.turns) turn.record = this.read(turn);
  }
  name(turn) { return ["fistula-label", this.facts.id, this.reader, turn.patient.key, turn.repeat].join(":"); }
  read(turn) { return this.keep.read(this.name(turn)) || { answers: {}, seconds: 0 }; }
  // What is answered for a slice; at the level of patients, for the patient.
  answer(turn, key) { return turn.record.answers[key] || EMPTY; }
  // Change answers together; one undo takes them back together.
  set(turn, changes) {
    this.history.push({ turn, before: changes.map(([key]) => [key, turn.record.answers[key]]) });
    const date = today();
    for (const [key, change] of changes) turn.record.answers[key] = { ...this.answer(turn, key), ...change, date };
    this.save(turn);
    if (this.facts.session) keepLastReading(this.facts, this.reader, date);
  }
  undo() {
    const last = this.history.pop();
    if (!last) return null;
    for (const [key, answer] of last.before) { if (answer) last.turn.record.answers[key] = answer; else delete last.turn.record.answers[key]; }
    this.save(last.turn);
    return last;
  }
  save(turn) {
    turn.record.saves = (turn.record.saves || 0) + 1;
    // What a server has not confirmed is sent again by the next page that finds it.
    if (this.saved) turn.record.unsent = true;
    this.hold(turn);
    if (this.saved) this.saved(turn);
  }
  hold(turn) { this.keep.write(this.name(turn), turn.record).then(kept => { this.kept = kept; if (this.held) this.held(); }); }
  confirm(turn, saves) { if (turn.record.saves === saves) { turn.record.unsent = false; this.hold(turn); } }
  // Whose answers to this question the browser keeps, and how many.
  static kept(keep, id) {
    const start = `fistula-label:${id}:`, found = new Map();
    for (const name of keep.names(start)) {
      const reader = name.slice(start.length).split(":").slice(0, -2).join(":");
      const number = Object.keys(keep.read(name)?.answers ?? {}).length;
      if (number) found.set(reader, (found.get(reader) || 0) + number);
    }
    return [...found];
  }
  isAnswered(answer) { return answer.label !== null || answer.unsure; }
  done(turn) { return Object.values(turn.record.answers).filter(answer => this.isAnswered(answer)).length; }
  wanted(turn) { return this.facts.level === "patient" ? 1 : turn.patient.asked; }
  isDone(turn) { return this.done(turn) >= this.wanted(turn); }
}

// By local time: what the reader's calendar says.
function today() {
  const now = new Date(), two = number => String(number).padStart(2, "0");
  return `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`;
}
// When a reader last read in a session of a reader study, as far as this browser knows; "" where it does not.
const sessionKey = (facts, session, reader) => ["fistula-label", "session", session, facts.seed, reader].join(":");
function keepLastReading(facts, reader, date) {
  try { localStorage.setItem(sessionKey(facts, facts.session, reader), date); } catch { /* a browser that keeps nothing */ }
}
function lastReading(facts, session, reader) {
  try { return localStorage.getItem(sessionKey(facts, session, reader)) || ""; } catch { return ""; }
}
// The day on which so many weeks have passed.
function opensOn(date, weeks) {
  const day = new Date(date + "T12:00:00Z");
  day.setUTCDate(day.getUTCDate() + Math.ceil(weeks * 7));
  return day.toISOString().slice(0, 10);
}
