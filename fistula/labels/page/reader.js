"use strict";
// The order of the patients, drawn by reader and seed; the place of the opening on the clock.

// FNV-1a with a last mix: the same draw in every browser.
function draw(text) {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  hash = Math.imul(hash ^ hash >>> 16, 0x85ebca6b); hash = Math.imul(hash ^ hash >>> 13, 0xc2b2ae35);
  return (hash ^ hash >>> 16) >>> 0;
}

function turnsOf(facts, reader) {
  const drawn = (salt, list) => list.map(item => [draw([facts.seed, reader, salt, item.patient.key].join("|")), item])
    .sort((a, b) => a[0] - b[0] || (a[1].patient.key < b[1].patient.key ? -1 : 1)).map(pair => pair[1]);
  const all = facts.patients.map((patient, index) => ({ patient, index, repeat: 0 })).filter(turn => turn.patient.asked > 0);
  if (facts.session) return all; // a reader study has drawn it
  const first = drawn("first", all);
  // Second readings come after all first ones, in another order.
  const again = drawn("choice", all).slice(0, Math.round(facts.repeat * all.length)).map(turn => ({ ...turn, repeat: 1 }));
  return [...first, ...drawn("again", again)];
}

// Vector in mm from the canal's centre to the opening, in the patient's coordinates (left, posterior, head).
function offset(series, opening, canal) {
  const down = (opening[0] - canal[0]) * series.spacing[0], right = (opening[1] - canal[1]) * series.spacing[1];
  return [0, 1, 2].map(i => right * series.axes[i] + down * series.axes[i + 3]);
}

// Hours as a surgeon sees them in lithotomy: 12 is anterior, 3 the patient's left. Null where no axial plane says it.
function clock(series, opening, canal) {
  if (!opening || !canal || series.orientation !== "axial" || series.axes.length !== 6) return null;
  const [left, posterior] = offset(series, opening, canal);
  if (!left && !posterior) return null;
  const hours = Math.atan2(left, -posterior) * 6 / Math.PI;
  return (hours + 12) % 12 || 12;
}
function sayClock(hours) { return hours === null ? "" : (hours < 0.95 ? hours + 12 : hours).toFixed(1); }
