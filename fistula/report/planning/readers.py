"""A reader study's plan: the paragraph for its protocol, and a page."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fistula import __version__
from fistula.evidence.design.reader_planning import Components
from fistula.folder import whole_folder
from fistula.report.planning.patients import PAGE, fill


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
    record = {"patients": dict(needed), "components": asdict(parts), "difference": effect}
    with whole_folder(out) as folder:
        fill(folder, "readers_plan.html", text, {"needed": needed}, record)
    return out / PAGE
