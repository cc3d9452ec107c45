"""What should be known before the first epoch: few patients, kinds of image pooled, a scanner for a class."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import polars as pl

from fistula.cohort.look.confounding import CONFOUNDED, find_confounding
from fistula.cohort.manifest import LACKS
from fistula.errors import count, say_class
from fistula.source.intensity import Intensity, MinMax, Percentile

# What tells scanners and protocols apart beside the scanner's model.
FURTHER = {
    "institution_key": "institution", "device_key": "serial number or station of the scanner",
    "spacing_row": "pixel spacing", "bits": "number of bits", "is_rescaled": "use of a rescale slope",
}  # fmt: skip
FEW_PATIENTS = 20  # with fewer a test set of a fifth has hardly a patient of each class
MAPS = re.compile(
    r"\b(E?ADC|FA|CBF|CBV|MTT|TTP|\w*_?MAP|T[12]_STAR|R[12]_STAR|VELOCITY|PERFUSION|FIELD_MAP)\b", re.IGNORECASE
)


def early_warnings(slices: pl.DataFrame, classes: Sequence[str] = ()) -> list[str]:
    """Sentences on the slices of a cohort, or on those that would be kept.

    Columns are ``patient_key component image_type contrast scanner``; ``label``, of the `classes`, where it is known,
    and ``pixel_hash`` where pixels have been read.
    """
    return list(_warnings(slices, classes)) if len(slices) else []


def _warnings(slices: pl.DataFrame, classes: Sequence[str]) -> Iterator[str]:
    patients = slices["patient_key"].n_unique()
    if patients < FEW_PATIENTS:
        only = count(patients, "patient")
        yield f"only {only}: the confidence interval of the AUROC will span most of its range"
    most = Counter(slices["patient_key"]).most_common(1)[0][1]
    if patients > 1 and 2 * most > len(slices):
        yield f"one of {patients} patients has {most} of {len(slices)} slices"
    component = pl.col("component").fill_null("")  # only of Dixon images
    contrast = pl.lit("contrast ") + pl.col("contrast").fill_null("").replace("", "unknown")
    kinds = slices.select(pl.when(component == "").then(contrast).otherwise(component + ", " + contrast)).to_series()
    found = Counter(str(kind) for kind in kinds)
    if len(found) > 1:
        counts = "; ".join(f"{name}: {number}" for name, number in found.most_common(5))
        yield f"{len(found)} kinds of image are pooled ({counts}): keep.component and keep.contrast choose one"
    is_map = (
        slices["image_type"]
        .fill_null("")
        .map_elements(lambda text: MAPS.search(text) is not None, return_dtype=pl.Boolean)
    )
    if 0 < (maps := int(is_map.sum())) < len(slices):
        verb = "is" if maps == 1 else "are"
        yield f"{count(maps, 'slice')} of a parameter map {verb} mixed with {len(slices) - maps} of other images"
    yield from (*_one_scanner(slices, classes), *_associated(slices)) if "label" in slices.columns else ()
    yield from _contradictions(slices) if "pixel_hash" in slices.columns else ()


def unit_warnings(slices: pl.DataFrame, intensity: Intensity) -> list[str]:
    """A sentence where CT, whose units all scanners share, is scaled by each volume's own gray values."""
    number = int((slices["modality"] == "CT").sum())
    if not number or not isinstance(intensity, Percentile | MinMax):
        return []
    return [f"CT is scaled by the gray values of each volume ({number} slices), which loses Hounsfield units:"
            " intensity=window keeps them (for soft tissue, intensity.center=50 intensity.width=400)"]  # fmt: skip


def lacking_warnings(slices: pl.DataFrame, classes: Sequence[str], names: Sequence[str]) -> list[str]:
    """Sentences on sequences that some patients lack: of how many of each class, for that alone may tell the class.

    The slices are of the first sequence, with the columns of `fistula.cohort.manifest.lacking`; it stands first among
    the names.
    """
    said = []
    for name in names[1:]:
        of = slices.group_by("patient_key").agg(
            pl.col("label").max(), (pl.col(f"{LACKS}{name}") == 1).all().alias("is")
        )
        counts = [of.filter(pl.col("label") == label)["is"] for label in range(len(classes))]
        if any(one.any() for one in counts):
            shares = ", ".join(
                f"{int(one.sum())} of {len(one)} {word} patients" for word, one in zip(classes, counts, strict=True)
            )
            said.append(f"{name} is missing in {shares}: if these differ, its absence alone reveals the class")
    return said


def _one_scanner(slices: pl.DataFrame, classes: Sequence[str]) -> Iterator[str]:
    """Classes whose patients were all imaged on one scanner, where there are several."""
    known = slices.drop_nulls(["label", "scanner"]).filter(pl.col("scanner") != "")
    of = known.group_by("patient_key").agg(pl.col("label").max(), pl.col("scanner").mode().sort().first())
    if of["scanner"].n_unique() < 2:
        return
    for (label,), rows in sorted(of.group_by("label"), key=lambda item: item[0]):
        if rows["scanner"].n_unique() == 1 and len(rows) > 1:
            scanner = rows["scanner"][0]
            name = say_class(classes[label] if classes else str(label))
            yield f"all {len(rows)} {name} patients are from one scanner ({scanner}), others are not"


def _associated(slices: pl.DataFrame) -> Iterator[str]:
    """Facts of the acquisition that go with the class, and that no network is to see."""
    there = [name for name in FURTHER if name in slices.columns]
    told = slices.select("patient_key", "label", *there).with_columns(pl.col(pl.Float64).round(2))
    told = told.with_columns(pl.col(there).cast(pl.String).fill_null(""))  # not stated is a value of its own
    for one in find_confounding(told, level=CONFOUNDED, pairs=[("label", name) for name in there]):
        if one.is_warning:
            said = f"(Cramér's V {one.cramers_v:.2f} over {one.patients} patients)"
            yield f"the class is associated with the {FURTHER[one.between[1]]} {said}"


def _contradictions(slices: pl.DataFrame) -> Iterator[str]:
    """Pictures that are the same in every pixel and have several labels, as one copied into two folders has."""
    of = slices.drop_nulls("label").group_by("pixel_hash").agg(pl.col("label").n_unique(), pl.len())
    of = of.filter(pl.col("label") > 1)
    if len(of):
        one = "picture has" if len(of) == 1 else "pictures have"
        yield f"{len(of)} {one} several labels: {of['len'].sum()} slices are the same in every pixel"
    again = slices.filter((pl.len() > 1).over("patient_key", "pixel_hash"))
    again = again.filter((pl.col("pixel_hash").n_unique() > 1).over("patient_key"))  # one may be a blank slice
    if len(again):
        yield (
            f"{len(again)} slices of {again['patient_key'].n_unique()} of the patients are the same in every pixel as "
            "another of the same patient: a study sent twice under new UIDs counts twice"
        )
