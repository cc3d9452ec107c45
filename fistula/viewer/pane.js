"use strict";
// One stack on the screen: draws a slice, its marks, its strip and its corners; wheel and mouse act on it.
const MARKS = { opening: "#ffc24b", canal: "#4fd8eb", finding: "#ff8f6b" };

class Pane {
  constructor(viewer, number) {
    this.viewer = viewer; this.number = number;
    this.list = []; this.at = 0; this.index = 0; this.direction = 1;
    this.zoom = 1; this.pan = [0, 0]; this.inverted = false; this.windows = new Map();
    this.element = document.createElement("section");
    this.element.className = "pane";
    this.element.innerHTML = '<canvas class="slice"></canvas><canvas class="strip" title="slices; click to go there"></canvas>' +
      '<span class="corner nw"></span><span class="corner ne"></span><span class="corner sw"></span><span class="corner se"></span>' +
      '<span class="edge w"></span><span class="edge e"></span><span class="edge n"></span><span class="edge s"></span>';
    [this.canvas, this.strip] = this.element.querySelectorAll("canvas");
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.image = document.createElement("canvas"); this.tints = document.createElement("canvas");
    this.say = name => this.element.querySelector("." + name.replace(" ", "."));
    listen(this);
  }
  get series() { return this.list[this.at]; }
  get slice() { return this.series && this.series.slices[this.index]; }
  get window() {
    if (!this.windows.has(this.series)) this.windows.set(this.series, [...this.series.window]);
    return this.windows.get(this.series);
  }
  show(list, at = 0) {
    this.tints.of = null; this.list = list; this.at = at; this.windows = new Map(); this.inverted = false;
    this.fit(); this.change(at);
  }
  change(at) {
    this.at = at;
    this.go(this.series.start ?? this.series.slices.length >> 1, true);
  }
  fit() { this.zoom = 1; this.pan = [0, 0]; }
  step(by) { this.go(this.index + by); }
  go(index, alone = false) {
    const last = this.series.slices.length - 1;
    index = Math.max(0, Math.min(last, index));
    if (index !== this.index) this.direction = index > this.index ? 1 : -1;
    this.index = index;
    this.draw();
    if (!alone) this.viewer.link(this);
    this.viewer.hook("moved", this);
  }
  // Show the slice nearest to a position in mm; false if the stack ends before it.
  near(position) {
    let best = -1, least = Infinity;
    this.series.slices.forEach((slice, i) => {
      const far = Math.abs(slice.position - position);
      if (slice.position !== null && far < least) { least = far; best = i; }
    });
    if (best >= 0 && best !== this.index) { this.direction = best > this.index ? 1 : -1; this.index = best; this.draw(); }
  }
  draw() {
    const { series, slice } = this;
    if (!series) return;
    const ready = this.viewer.pixels.get(slice);
    if (ready) this.paint(ready);
    else {
      this.viewer.pixels.load(series, slice).then(() => { if (this.slice === slice) this.draw(); })
        .catch(() => { this.say("corner sw").textContent = "this image cannot be shown"; });
    }
    this.viewer.pixels.ahead(series, this.index, this.direction, () => this.slice === slice);
    this.words(); this.drawStrip();
  }
  paint(levels) {
    const { series } = this, { rows, cols } = series;
    const map = this.lookup(), image = this.buffer(cols, rows), out = image.words;
    for (let i = 0; i < levels.length; i++) out[i] = map[levels[i]];
    this.image.getContext("2d").putImageData(image.data, 0, 0);
    this.resize();
    const context = this.context, box = this.box();
    context.fillStyle = "#000"; context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    context.imageSmoothingEnabled = true;
    context.drawImage(this.image, box.x, box.y, box.width, box.height);
    const over = this.viewer.hook("over", series, this.slice);
    if (over) context.drawImage(over, box.x, box.y, box.width, box.height);
    for (const mark of this.viewer.hook("marks", series, this.slice) || []) this.mark(mark, box);
    this.painted = this.slice;
  }
  buffer(cols, rows) {
    if (!this.kept || this.kept.data.width !== cols || this.kept.data.height !== rows) {
      const data = new ImageData(cols, rows);
      this.kept = { data, words: new Uint32Array(data.data.buffer) };
      this.image.width = cols; this.image.height = rows;
    }
    return this.kept;
  }
  lookup() {
    const { series } = this, [center, width] = this.window, top = 2 ** series.bits - 1;
    const key = [center, width, this.inverted, series.bits, series.low, series.high].join();
    if (this.mapKey === key) return this.map;
    this.mapKey = key; this.map = new Uint32Array(top + 1);
    for (let i = 0; i <= top; i++) {
      const value = series.low + (series.high - series.low) * i / top;
      let grey = Math.max(0, Math.min(255, ((value - center) / width + 0.5) * 255 + 0.5 | 0));
      if (this.inverted) grey = 255 - grey;
      this.map[i] = 255 << 24 | grey << 16 | grey << 8 | grey;
    }
    return this.map;
  }
  resize() {
    const ratio = window.devicePixelRatio || 1, { clientWidth, clientHeight } = this.canvas;
    const width = Math.round(clientWidth * ratio), height = Math.round(clientHeight * ratio);
    if (this.canvas.width !== width || this.canvas.height !== height) { this.canvas.width = width; this.canvas.height = height; }
  }
  // Where the slice lies on the canvas, in its pixels.
  box() {
    const { rows, cols, spacing } = this.series, ratio = window.devicePixelRatio || 1;
    const mm = [rows * spacing[0], cols * spacing[1]];
    const scale = this.zoom * Math.min(this.canvas.height / mm[0], this.canvas.width / mm[1]);
    const width = mm[1] * scale, height = mm[0] * scale;
    return { width, height, x: (this.canvas.width - width) / 2 + this.pan[0] * ratio, y: (this.canvas.height - height) / 2 + this.pan[1] * ratio };
  }
  // Row and column under the pointer, or null outside the slice.
  pixel(event) {
    const ratio = window.devicePixelRatio || 1, area = this.canvas.getBoundingClientRect(), box = this.box();
    const col = ((event.clientX - area.left) * ratio - box.x) / box.width * this.series.cols - 0.5;
    const row = ((event.clientY - area.top) * ratio - box.y) / box.height * this.series.rows - 0.5;
    const inside = row >= -0.5 && col >= -0.5 && row <= this.series.rows - 0.5 && col <= this.series.cols - 0.5;
    return inside ? { row, col } : null;
  }
  mark({ kind, row, col }, box) {
    const context = this.context, ratio = window.devicePixelRatio || 1;
    const x = box.x + (col + 0.5) / this.series.cols * box.width, y = box.y + (row + 0.5) / this.series.rows * box.height;
    context.lineWidth = 1.75 * ratio; context.strokeStyle = MARKS[kind.replace("doubtful ", "")] || MARKS.finding;
    context.shadowColor = "#000"; context.shadowBlur = 3 * ratio;
    context.beginPath();
    if (kind.endsWith("canal")) {
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) { context.moveTo(x + 3 * dx * ratio, y + 3 * dy * ratio); context.lineTo(x + 10 * dx * ratio, y + 10 * dy * ratio); }
    } else {
      // Broken where it is no finding: a dash is a tenth of the circle.
      if (kind.startsWith("doubtful")) context.setLineDash([0.9 * Math.PI * ratio, 0.9 * Math.PI * ratio]);
      context.arc(x, y, 9 * ratio, 0, 2 * Math.PI); context.moveTo(x + ratio, y); context.arc(x, y, ratio, 0, 2 * Math.PI);
    }
    context.stroke(); context.shadowBlur = 0; context.setLineDash([]);
  }
  words() {
    const { series, slice } = this, [center, width] = this.window, write = (name, text) => { this.say(name).textContent = text; };
    const signed = number => String(number).replace("-", "−");
    write("corner nw", series.title + (this.list.length > 1 ? `\nstack ${this.at + 1} of ${this.list.length} (Tab)` : ""));
    write("corner ne", this.viewer.panes.length > 1 ? (this.viewer.isLinked(this) ? "linked" : "not linked: another plane") : "");
    const position = slice.position === null ? "" : `\n${signed(slice.position.toFixed(1))} mm`;
    write("corner sw", `${this.index + 1} / ${series.slices.length}` + (slice.number === null ? "" : `  ·  image ${slice.number}`) + position);
    write("corner se", `C ${signed(Math.round(center))}  W ${Math.round(width)}${this.inverted ? "  inverted" : ""}\n${this.zoom.toFixed(1)}×`);
    ["w", "e", "n", "s"].forEach((name, i) => write("edge " + name, series.edges[i] || ""));
    this.element.classList.toggle("active", this.viewer.active === this && this.viewer.panes.length > 1);
  }
  drawStrip() {
    const ratio = window.devicePixelRatio || 1, canvas = this.strip, size = this.series.slices.length;
    const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    const context = canvas.getContext("2d"), step = height / size, gap = step > 4 * ratio ? ratio : 0;
    if (this.tints.of !== this.series || this.tints.width !== width || this.tints.height !== height) this.drawTints(width, height, step, gap);
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    context.clearRect(0, 0, width, height);
    context.drawImage(this.tints, 0, 0);
    context.strokeStyle = "#fff"; context.lineWidth = 1.5 * ratio;
    context.strokeRect(0.75 * ratio, this.index * step, canvas.width - 1.5 * ratio, Math.max(step - gap, 3 * ratio));
  }
  // What the strip says of all slices: drawn when an answer has changed, not at each step through them.
  drawTints(width, height, step, gap) {
    const ratio = window.devicePixelRatio || 1, canvas = this.tints, context = canvas.getContext("2d");
    canvas.of = this.series; canvas.width = width; canvas.height = height;
    this.series.slices.forEach((slice, i) => {
      const across = canvas.width * 0.7, high = Math.max(step - gap, 1), level = this.viewer.hook("level", this.series, slice) ?? 1;
      context.fillStyle = "#262b31"; context.fillRect(canvas.width * 0.3, i * step, across, high);
      context.fillStyle = this.viewer.hook("tint", this.series, slice) || "#262b31";
      context.fillRect(canvas.width * 0.3, i * step, Math.max(across * level, ratio), high);
      if ((this.viewer.hook("marks", this.series, slice) || []).some(mark => !mark.kind.startsWith("found"))) {
        context.fillStyle = MARKS.opening; context.fillRect(0, i * step, canvas.width * 0.22, Math.max(step - gap, 1));
      }
    });
  }
}
