"use strict";
// Slices are decoded when they are first shown, and kept as grey levels up to a number of bytes.
class Pixels {
  constructor(limit = 256 * 2 ** 20) {
    this.limit = limit; this.bytes = 0;
    this.kept = new Map(); this.waiting = new Map();
    this.canvas = document.createElement("canvas");
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.size = "";
  }
  // Grey levels of a slice if they are there, else null.
  get(slice) {
    const found = this.kept.get(slice);
    if (found) { this.kept.delete(slice); this.kept.set(slice, found); }
    return found || null;
  }
  load(series, slice) {
    const found = this.get(slice);
    if (found) return Promise.resolve(found);
    if (!this.waiting.has(slice)) {
      const work = this.decode(series, slice).finally(() => this.waiting.delete(slice));
      this.waiting.set(slice, work);
    }
    return this.waiting.get(slice);
  }
  async decode(series, slice) {
    const blob = await this.blob(series, slice);
    const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
    const { width, height } = bitmap;
    if (this.size !== `${width}x${height}`) {
      this.size = `${width}x${height}`; this.canvas.width = width; this.canvas.height = height;
      this.context.globalCompositeOperation = "copy"; // nothing of the slice before shines through
    }
    this.context.drawImage(bitmap, 0, 0);
    bitmap.close();
    const rgba = this.context.getImageData(0, 0, width, height).data;
    const levels = series.bits === 12 ? new Uint16Array(width * height) : new Uint8Array(width * height);
    if (series.bits === 12) for (let i = 0, j = 0; i < levels.length; i++, j += 4) levels[i] = rgba[j] << 4 | rgba[j + 1] >> 4;
    else for (let i = 0, j = 0; i < levels.length; i++, j += 4) levels[i] = rgba[j];
    this.kept.set(slice, levels); this.bytes += levels.byteLength;
    for (const [old, data] of this.kept) {
      if (this.bytes <= this.limit || old === slice) break;
      this.kept.delete(old); this.bytes -= data.byteLength;
    }
    return levels;
  }
  async blob(series, slice) {
    if (typeof slice.image === "string" && !slice.image.startsWith("data:")) return (await fetch(slice.image)).blob();
    const text = typeof slice.image === "string"
      ? slice.image.slice(slice.image.indexOf(",") + 1)
      : series.block.substr(slice.image[0], slice.image[1]);
    const raw = atob(text), bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return new Blob([bytes]);
  }
  // Decode what is likely to be wanted next, ahead in the direction of travel first: one after the other, so that no
  // frame has to wait for several, and no longer once another slice is shown.
  async ahead(series, index, direction, isWanted, count = 8) {
    const places = [...Array(count).keys()].map(i => index + (i + 1) * direction);
    for (const next of [...places, index - direction].map(place => series.slices[place])) {
      if (!next || this.kept.has(next)) continue;
      await this.load(series, next).catch(() => {});
      if (!isWanted()) return;
    }
  }
}
