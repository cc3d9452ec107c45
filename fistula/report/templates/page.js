"use strict";
// In a narrow window each row is a card, and each cell says what it is.
for (const table of document.querySelectorAll("table.stacked")) {
  const heads = [...(table.tHead?.rows[table.tHead.rows.length - 1].cells ?? [])].map(head => head.textContent.trim());
  for (const row of table.tBodies[0].rows) [...row.cells].forEach((cell, n) => { if (cell.tagName === "TD") cell.dataset.head = heads[n] ?? ""; });
}
// Sort a table by a column: numbers by their value, words by the alphabet, what is undefined always last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const key = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    return text !== "" && isFinite(text) ? Number(text) : text;
  };
  heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") ? head.getAttribute("aria-sort") === "ascending" : head.classList.contains("n");
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => {
      const [x, y] = [key(a, column), key(b, column)];
      const missing = (x === "") - (y === "");
      if (missing) return missing;
      const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
      return down ? -order : order;
    });
    table.tBodies[0].append(...rows);
  }));
}
// What scrolls sideways is scrolled by the keyboard too.
const sideways = new ResizeObserver(all => all.forEach(({ target }) => { target.tabIndex = target.scrollWidth > target.clientWidth ? 0 : -1; }));
for (const part of document.querySelectorAll(".scroll, figure")) sideways.observe(part);
// What is folded away on the screen is printed all the same.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(part => { part.open = true; }));
