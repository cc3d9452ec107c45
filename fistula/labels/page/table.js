"use strict";
// Answers as a table that `fistula ingest labels=` takes as it is, and back.

// A score from 0 to 100 stands as it is; degrees count from 1.
const scoreOf = (facts, label) => facts.top === 100 ? label : label + 1;

function rowsOf(state, turns = state.turns) {
  const { facts } = state, rows = [];
  for (const turn of turns) {
    for (const [key, answer] of Object.entries(turn.record.answers)) {
      if (!state.isAnswered(answer) && !answer.opening && !answer.canal && !answer.note) continue;
      const [row, col] = answer.opening || ["", ""], [canalRow, canalCol] = answer.canal || ["", ""];
      const value = answer.label === null ? "" : facts.question === "score" ? scoreOf(facts, answer.label) : facts.classes[answer.label];
      const given = { slice_key: key, patient_key: turn.patient.key, label: value, score: value, opening_slice: answer.slice ?? "", session: facts.session || "", modality: turn.patient.modality ?? "", opening_row: row, opening_col: col,
        canal_row: canalRow, canal_col: canalCol, unsure: answer.unsure ? 1 : 0, note: answer.note, reader: state.reader, date: answer.date,
        clock: answer.clock ?? "", pixel_mm: answer.pixel ?? "", position_mm: answer.position ?? "", repeat: turn.repeat, seconds: Math.round(turn.record.seconds) };
      rows.push(facts.columns.map(name => given[name]));
    }
  }
  return rows;
}

function toCsv(state) {
  const cell = value => /[",\n\r]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value);
  return [state.facts.columns, ...rowsOf(state)].map(row => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

// RFC 4180: quotes may hold commas, line ends and doubled quotes. A spreadsheet may have put semicolons or tabs.
function parseCsv(text) {
  text = text.replace(/^\ufeff/, "").replace(/^"?sep=.*\r?\n/, "");
  const first = text.split("\n", 1)[0], mark = [",", ";", "\t"].sort((a, b) => first.split(b).length - first.split(a).length)[0];
  const rows = [[]], cell = new RegExp(`(?:"((?:[^"]|"")*)"|([^"${mark}\\r\\n]*))(${mark}|\\r?\\n|$)`, "g");
  for (const [, quoted, plain, end] of text.matchAll(cell)) {
    rows.at(-1).push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    if (end === "") break;
    if (end !== mark) rows.push([]);
  }
  return rows.filter(row => row.length > 1 || row[0]);
}

// Put a table's answers into the state; says what was taken, or throws why it cannot be.
function fromCsv(state, text) {
  const [header, ...body] = parseCsv(text);
  const missing = state.facts.columns.filter(name => !(header || []).includes(name));
  if (missing.length) throw new Error(`this is not a table of this page: it has no column ${missing[0]}`);
  const rows = body.map(cells => Object.fromEntries(header.map((name, i) => [name, cells[i] ?? ""])));
  const other = rows.find(row => row.reader !== state.reader);
  if (other) throw new Error(`this table is by another reader (${other.reader})`);
  const session = rows.find(row => (row.session ?? "") !== String(state.facts.session || ""));
  if (session) throw new Error(session.session ? `this table is of session ${session.session}` : "this table is not from a session");
  const turns = new Map(state.turns.map(turn => [`${turn.patient.key}:${turn.repeat}`, turn])), touched = new Set();
  const point = (row, col) => row === "" || col === "" ? null : [row, col].map(value => Number(value.replace(",", ".")));
  const value = row => {
    const word = row.label ?? row.score;
    if (word === "") return null;
    const isScore = state.facts.question === "score", from = state.facts.top === 100 ? 0 : 1;
    const label = isScore ? Number(word) - from : state.facts.classes.indexOf(word);
    if (!(Number.isInteger(label) && label >= 0 && label <= (isScore ? state.facts.top - from : state.facts.classes.length - 1))) throw new Error(`this page has no answer "${word}"`);
    return label;
  };
  const known = rows.map(row => [turns.get(`${row.patient_key}:${row.repeat}`), row, value(row)]).filter(([turn]) => turn);
  for (const [turn, row, label] of known) {
    turn.record.answers[row.slice_key ?? row.patient_key] = { label, unsure: row.unsure === "1", note: row.note, date: row.date,
      opening: point(row.opening_row ?? "", row.opening_col ?? ""), canal: point(row.canal_row ?? "", row.canal_col ?? ""),
      slice: row.opening_slice || null, clock: row.clock || null, pixel: row.pixel_mm, position: row.position_mm };
    turn.record.seconds = Math.max(turn.record.seconds, Number(row.seconds) || 0);
    touched.add(turn);
  }
  touched.forEach(turn => state.save(turn));
  const left = rows.length - known.length;
  return `${known.length} answers imported` + (left ? `; ${left} are of patients who are not on this page` : "");
}
