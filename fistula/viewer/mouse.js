"use strict";
// What wheel, buttons and drags do to a pane. The left button acts as the tool says; right windows, the middle button pans.
const STILL = 4; // pixels that a click may move

function listen(pane) {
  const { canvas, strip, viewer } = pane;
  let drag = null;
  canvas.addEventListener("wheel", event => {
    event.preventDefault();
    viewer.activate(pane);
    if (event.ctrlKey || event.metaKey) return zoomAt(pane, event, Math.exp(-event.deltaY / 300));
    pane.rolled = (pane.rolled || 0) + (event.deltaMode ? 100 * event.deltaY : event.deltaY);
    const steps = Math.trunc(pane.rolled / 40); // a notch is 100 or more, a touchpad sends many small ones
    if (steps) { pane.step(Math.sign(steps) * (Math.abs(pane.rolled) < 240 ? 1 : Math.abs(steps) >> 1)); pane.rolled = 0; }
  }, { passive: false });
  canvas.addEventListener("contextmenu", event => event.preventDefault());
  canvas.addEventListener("pointerdown", event => {
    if (!pane.series) return;
    viewer.activate(pane);
    canvas.setPointerCapture(event.pointerId);
    const tool = event.button === 2 ? "window" : event.button === 1 ? "pan" : viewer.tool;
    drag = { tool, x: event.clientX, y: event.clientY, moved: 0, index: pane.index, window: [...pane.window], pan: [...pane.pan] };
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", event => {
    if (!drag) return;
    const dx = event.clientX - drag.x, dy = event.clientY - drag.y;
    drag.moved = Math.max(drag.moved, Math.hypot(dx, dy));
    if (drag.moved <= STILL) return;
    if (drag.tool === "scroll") {
      const step = Math.max(3, Math.min(12, canvas.clientHeight / pane.series.slices.length));
      const index = drag.index + Math.round(dy / step);
      if (index !== pane.index) pane.go(index);
    } else if (drag.tool === "window") {
      const range = pane.series.high - pane.series.low;
      pane.window[0] = drag.window[0] + dy * range / 800;
      pane.window[1] = Math.max(range / 250, drag.window[1] + dx * range / 500);
      pane.draw();
    } else if (drag.tool === "pan") {
      pane.pan = [drag.pan[0] + dx, drag.pan[1] + dy]; pane.draw();
    } else if (drag.tool === "zoom") {
      zoomAt(pane, event, Math.exp((drag.last || 0) / 150 - dy / 150)); drag.last = dy;
    }
  });
  canvas.addEventListener("pointerup", event => {
    const still = drag && drag.moved <= STILL && event.button === 0;
    drag = null;
    const pixel = still && pane.pixel(event);
    if (pixel) viewer.hook("point", pane, pixel, event);
  });
  canvas.addEventListener("pointercancel", () => { drag = null; });
  const jump = event => {
    const area = strip.getBoundingClientRect();
    viewer.activate(pane);
    pane.go(Math.floor((event.clientY - area.top) / area.height * pane.series.slices.length));
  };
  strip.addEventListener("pointerdown", event => { strip.setPointerCapture(event.pointerId); jump(event); });
  strip.addEventListener("pointermove", event => { if (event.buttons & 1) jump(event); });
}

// Zoom about the pointer, so that what is under it stays there.
function zoomAt(pane, event, factor) {
  const area = pane.canvas.getBoundingClientRect(), zoom = Math.max(1, Math.min(12, pane.zoom * factor)), by = zoom / pane.zoom;
  const x = event.clientX - area.left - area.width / 2, y = event.clientY - area.top - area.height / 2;
  pane.pan = zoom === 1 ? [0, 0] : [x - (x - pane.pan[0]) * by, y - (y - pane.pan[1]) * by];
  pane.zoom = zoom;
  pane.draw();
}
