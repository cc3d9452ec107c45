"""One stack viewer in plain JavaScript, for every page that shows slices, and the images that it shows.

A page inlines `viewer.css` and the scripts in the order of `page.SCRIPTS`; nothing is built, nothing is loaded. Then::

    const viewer = new Viewer(element, hooks);
    viewer.show(patient);          // a patient as below; the first series of each pane is shown
    viewer.key(event)              // true if the key was one of the viewer's; call it for keys the page does not take
    viewer.active                  // the pane that keys go to: {series, index, slice, go(index), step(by), draw()}
    viewer.draw()                  // after a hook would answer differently

A patient is plain JSON::

    {"key": "...", "series": [{
        "key": "...", "title": "T1 water", "pane": 0,        // series with one pane share it; Tab changes between them
        "plane": 0,                                          // panes of equal plane are linked by position
        "edges": ["R", "L", "A", "P"],                       // letters left, right, top, bottom; [] for none
        "axes": [1, 0, 0, 0, 1, 0],                          // ImageOrientationPatient, or []
        "orientation": "axial",
        "rows": 320, "cols": 320, "spacing": [0.6, 0.6],     // mm between rows, between columns
        "bits": 8, "low": 0, "high": 1400,                   // what the first and last grey level stand for
        "window": [600, 900], "start": 0,                    // centre, width and slice to begin with; start may lack
        "presets": [["file", 600, 900]],                     // name, centre, width
        "block": "...",                                      // base64 of all images, one after the other
        "slices": [{"key": "...", "number": 7, "position": -12.5, "image": [0, 24680]}]}]}

`image` is start and length in `block` (characters), or an address (data: or relative). 8 bits are the grey level of a
JPEG; 12 bits stand in a lossless WebP whose red is the upper eight and whose green the lower four, from its top.

Hooks, all optional: ``marks(series, slice)`` gives ``[{kind, row, col}]`` (centre of the first pixel at 0) to draw;
``over(series, slice)`` a canvas to lay over it, or null; ``tint(series, slice)`` a colour for the strip, or null;
``point(pane, {row, col}, event)`` a click on a slice; ``moved(pane)`` another slice is shown; ``said(text)`` what a
key did; ``tooled(name)`` what a drag does now.
"""
