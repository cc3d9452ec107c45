"use strict";
// Panes side by side; see fistula/viewer/__init__.py for the patient and the hooks.
const TOOLS = { scroll: "s", window: "w", pan: "p", zoom: "z" };

class Viewer {
  constructor(element, hooks = {}) {
    this.element = element; this.hooks = hooks; this.pixels = new Pixels();
    this.panes = []; this.active = null; this.tool = "scroll";
    element.classList.add("viewer");
    new ResizeObserver(() => this.draw()).observe(element);
  }
  hook(name, ...given) { return this.hooks[name] ? this.hooks[name](...given) : undefined; }
  show(patient) {
    this.patient = patient;
    this.pixels = new Pixels();
    const numbers = [...new Set(patient.series.map(series => series.pane))].sort((a, b) => a - b);
    this.lay(this.wanted = numbers.length);
    this.panes.forEach((pane, i) => pane.show(patient.series.filter(series => series.pane === numbers[i])));
    this.activate(this.panes[0]);
    this.link(this.active);
  }
  lay(count) {
    this.panes = Array.from({ length: count }, (_, number) => this.panes[number] || new Pane(this, number));
    this.element.replaceChildren(...this.panes.map(pane => pane.element));
  }
  // A further pane beside the others, with another stack of the patient; again: away with it.
  beside() {
    const shown = this.wanted;
    if (this.panes.length > shown) { this.lay(shown); this.activate(this.panes[0]); }
    else if (this.patient.series.length < 2) this.hook("said", "this patient has only one stack");
    else {
      this.lay(shown + 1);
      const others = this.patient.series.filter(series => series !== this.active.series);
      this.panes[shown].show(others);
      this.link(this.active);
    }
    this.draw();
  }
  activate(pane) {
    if (this.active === pane) return;
    this.active = pane;
    this.panes.forEach(each => each.series && each.words());
    if (pane.series) this.hook("moved", pane);
  }
  isLinked(pane) { return pane === this.active || (this.active && pane.series.plane === this.active.series.plane && pane.series.plane !== null); }
  link(leader) {
    if (!leader.slice || leader.slice.position === null) return;
    for (const pane of this.panes) if (pane !== leader && pane.series && this.isLinked(pane)) pane.near(leader.slice.position);
  }
  draw() { this.panes.forEach(pane => { pane.tints.of = null; pane.draw(); }); }
  setTool(tool) {
    this.tool = tool; this.element.dataset.tool = tool;
    this.hook("tooled", tool);
  }
  // Next preset window of the active stack; gives its name.
  preset() {
    const pane = this.active, presets = pane.series.presets;
    if (!presets.length) return "";
    pane.preset = ((pane.preset ?? 0) + 1) % presets.length;
    const [name, center, width] = presets[pane.preset];
    [pane.window[0], pane.window[1]] = [center, width];
    pane.draw();
    return name;
  }
  invert() { this.active.inverted = !this.active.inverted; this.active.draw(); }
  reset() {
    const pane = this.active;
    pane.fit(); pane.windows.delete(pane.series); pane.inverted = false; pane.preset = 0; pane.draw();
  }
  scale(factor) {
    const pane = this.active;
    pane.zoom = Math.max(1, Math.min(12, pane.zoom * factor));
    if (pane.zoom === 1) pane.pan = [0, 0];
    pane.draw();
  }
  change(by) {
    const pane = this.active;
    if (pane.list.length > 1) { pane.change((pane.at + by + pane.list.length) % pane.list.length); this.link(pane); }
    else if (this.panes.length > 1) this.activate(this.panes[(this.panes.indexOf(pane) + by + this.panes.length) % this.panes.length]);
  }
  key(event) {
    const pane = this.active;
    if (!pane || !pane.series || event.ctrlKey || event.metaKey || event.altKey) return false;
    const moves = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1, PageDown: 10, PageUp: -10 };
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const tool = Object.keys(TOOLS).find(name => TOOLS[name] === key);
    if (key in moves) pane.step(moves[key]);
    else if (key === "Home") pane.go(0);
    else if (key === "End") pane.go(pane.series.slices.length - 1);
    else if (key === "Tab") this.change(event.shiftKey ? -1 : 1);
    else if (key === "i") this.invert();
    else if (key === "r") this.reset();
    else if (key === "v") this.hook("said", `window: ${this.preset()}`);
    else if (key === "b") this.beside();
    else if (key === "+" || key === "=") this.scale(1.25);
    else if (key === "-") this.scale(0.8);
    else if (tool) this.setTool(tool);
    else return false;
    return true;
  }
}
