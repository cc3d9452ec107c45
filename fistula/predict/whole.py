"""Which new patients have each sequence that the runs look at; others are left out, unless the runs know of such."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from fistula.errors import DataError, count
from fistula.source.choose import Policies
from fistula.source.several.pairing import Pair, pairs_of


class Whole(NamedTuple):
    """Images of patients who can be scored, and of those who cannot."""

    images: pl.DataFrame  # of the first sequence, of the former
    pairs: list[Pair]  # their volumes of each, as `pairs_of` has them
    left_out: pl.DataFrame  # images of the latter, with the `reason` and `remedy`
    notes: list[str]


def whole_patients(
    images: pl.DataFrame, beside: pl.DataFrame, names: Sequence[str], *, missing: str, other_frame: str, where: str
) -> Whole:
    """Pair the sequences of each patient alone: what is wrong with one is no reason to score nobody.

    A patient who lacks one is left out, unless `missing` is ``mask``: then the runs know of such. What to do in another
    frame is as `fistula.source.choose.Policies` has it.

    Raises:
        DataError: If nobody can be scored.
    """
    if len(names) == 1:
        return Whole(images, [], images.clear(), [])
    policies, lacking = Policies(missing="mask", other_frame=other_frame), Counter[str]()
    kept, out, pairs = [images.clear()], [images.clear()], []
    for own in images.partition_by("patient_key", maintain_order=True):
        near = beside.filter(pl.col("study_key").is_in(own["study_key"].unique().implode()))
        reason, remedy = "", ""
        try:
            found, _, without = pairs_of(own, near, names, policies, where=where)
            lacks = [name for name, keys in without.items() if keys]
            if lacks and missing != "mask":
                reason, remedy = f"of a patient who lacks {' and '.join(lacks)}", "Give the whole study"
        except DataError as error:
            reason, remedy = error.rule, error.remedy
        if reason:
            out.append(own.with_columns(reason=pl.lit(reason), remedy=pl.lit(remedy)))
            continue
        kept.append(own)
        pairs += found
        lacking.update(lacks)
    left_out = pl.concat(out)
    if sum(map(len, kept)) == 0:
        reasons = Counter(left_out["reason"]).most_common()
        counts = ", ".join(f"{count(number, 'slice')}: {why}" for why, number in reasons)
        remedy = "Give whole studies; only runs of a cohort ingested with missing=mask score without one"
        raise DataError(where, "must hold each sequence that the run was trained on", found=counts, remedy=remedy)
    missed = ((name, count(number, "patient")) for name, number in lacking.items())
    notes = [f"{name} is missing in {patients}: blank, as in training" for name, patients in missed]
    return Whole(pl.concat(kept), pairs, left_out, notes)
