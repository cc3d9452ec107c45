"""A reader study's plan: the paragraph for its protocol, and a page."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

from fistula import __version__
from fistula.evidence.design.reader_planning import Components
from fistula.folder import whole_folder


def readers_paragraph(
    parts: Components,
    effect: float,
    what: str,
    needed: Mapping[int, int | None],
    settings: Any,
    *,
    pilot: str,
    observed: bool,
) -> str:
    """The sample size as a protocol states it.

    `what` says what the difference `effect` is of, and `observed` whether it is that of the pilot; `needed` are
    patients by number of readers, and `settings` has ``power`` and ``alpha``.
    """
    choices = ", ".join(f"{readers} readers and {cases} patients" for readers, cases in needed.items() if cases)
    caution = " The difference is that observed in the pilot, which is optimistically biased." if observed else ""
    return (
        f"A difference of AUROC of {abs(effect):.3f} ({what}) is detected with a power of {settings.power:.0%} at a "
        f"two-sided significance level of {settings.alpha:g} with any of: {choices}. Every reader reads every patient. "
        f"The variances are those of {parts.cases} patients of the pilot study {pilot} (reader, {parts.readers:.2g}; "
        f"own error, {parts.own:.2g}; error shared by readers, {parts.shared:.2g}), by the method of Obuchowski and "
        "Rockette with Hillis' degrees of freedom (Hillis, Obuchowski & Berbaum 2011), with readers and patients as "
        f"random factors and the same prevalence, as implemented in fistula {__version__}.{caution}"
    )


def write_readers_plan(
    out: Path, text: str, needed: Mapping[int, int | None], parts: Components, effect: float
) -> Path:
    """Write the folder `out`: ``plan.html``, ``protocol.txt``, ``plan.json``; give the path of the page."""
    lines = "".join(f"<tr><th>{readers}</th><td>{cases or 'none'}</td></tr>" for readers, cases in needed.items())
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        "<title>Reader study: plan</title><style>body{font:16px/1.5 sans-serif;max-width:42rem;margin:2rem auto;"
        "padding:0 1rem}th,td{padding:.2rem 1rem .2rem 0;text-align:right}</style>"
        f"<h1>Readers and patients</h1><p>{escape(text)}</p>"
        f"<table><tr><th>readers</th><th>patients</th></tr>{lines}</table></html>"
    )
    record = {"patients": dict(needed), "components": asdict(parts), "difference": effect, "version": __version__}
    with whole_folder(out) as folder:
        (folder / "plan.html").write_text(page, encoding="utf-8")
        (folder / "protocol.txt").write_text(f"{text}\n", encoding="utf-8")
        (folder / "plan.json").write_text(json.dumps(record, indent=1) + "\n")
    return out / "plan.html"
