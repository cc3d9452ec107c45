"""`fistula who`: from a pseudonym back to the patient, series and image, on this machine."""

from io import StringIO
from pathlib import Path

import polars as pl
from omegaconf import DictConfig
from rich.table import Table
from rich.text import Text

from fistula.dicom.identity import key_file, read_pseudonyms
from fistula.dicom.look import Look
from fistula.dicom.out.reference import read_reference
from fistula.errors import ConfigError, DataError, printable
from fistula.folder import refuse_existing, refuse_inside, write_whole
from fistula.source.choose import of_study
from fistula.source.copies import with_places
from fistula.source.flow import wide_console
from fistula.source.patients import PatientRule
from fistula.source.survey import Survey, survey_source
from fistula.source.workers import Workers

KEYS = ("patient_key", "study_key", "series_key", "slice_key", "place_key")
COLUMNS = ("patient", "series", "image number", "frame", "file", "pseudonym of the slice")
LEAST = 6  # digits: two of a cohort hardly begin alike
MOST = 200  # lines on the screen


def run(cfg: DictConfig) -> None:
    """Read the headers of the source, find the pseudonym among those that the key makes of them, and say what it is."""
    key = str(cfg.key).strip().lower()
    if len(key) < LEAST or not all(digit in "0123456789abcdef" for digit in key):
        raise ConfigError("key", f"must be a pseudonym, or at least its first {LEAST} digits", found=cfg.key)
    out = None if cfg.out is None else Path(str(cfg.out))
    if out is not None:
        refuse_existing(out)
        refuse_inside(out, cfg.source)
    if not key_file().is_file():
        remedy = "Name the one that the cohort was made with: FISTULA_PSEUDONYM_KEY_FILE=FILE"
        raise ConfigError("pseudonym key", "must exist: without it, no pseudonym can be traced back", remedy=remedy)
    rule = PatientRule(cfg.patient)
    if cfg.patient in ("column", "joined"):
        remedy = "Name a study, series or slice instead of the patient"
        raise ConfigError("patient", "must not depend on a table", found=cfg.patient, remedy=remedy)
    look = Look(read_pseudonyms(create=False), "", cfg.max_object_mb, cfg.seconds_per_file)
    survey = survey_source(Path(str(cfg.source)), look, Workers(cfg.workers.count, cfg.workers.backend), kind=None)
    found = named(survey, key, look, rule)
    table = Table(*COLUMNS, title="This identifies persons: keep it on this machine.", title_style="bold red")
    for line in found.head(MOST).iter_rows():
        table.add_row(*(Text("" if cell is None else printable(cell)) for cell in line))
    console = wide_console()
    console.print(table)
    if len(found) > MOST:
        console.print(f"... and {len(found) - MOST} more images (out=FILE.csv writes all)")
    if out is not None:
        text = StringIO()
        found.write_csv(text)
        write_whole(out, text.getvalue())
        print(f"wrote {out}, which identifies persons")


def named(survey: Survey, key: str, look: Look, rule: PatientRule) -> pl.DataFrame:
    """The images that a pseudonym stands for, with what their files say, `COLUMNS`.

    Raises:
        DataError: If none has it, or more than one pseudonym begins so.
    """
    images = survey.images
    # Patients as ingest has them, and slices that no UID names, or not them alone.
    images = rule.named(survey, of_study(images), look.pseudonyms)
    places = with_places(survey, images, pl.repeat(value=True, n=len(images), eager=True), look)["slice_key"]
    own = pl.when(pl.col("slice_key") == "").then(places).otherwise("slice_key")
    images = images.with_columns(place_key=places, slice_key=own)
    begins = {column: images.filter(pl.col(column).str.starts_with(key)) for column in KEYS}
    meant = {name: column for column in reversed(KEYS) for name in begins[column][column].unique()}
    if not meant:
        unknown = f"is not the pseudonym of a patient, study, series, or slice in {survey.folder}"
        remedy = "Name the folder, the key and the patient= that the cohort was made with"
        if survey.kind != "dicom":  # whose patients a table may have named, which is not read here
            remedy += ", or a slice of a patient whom a table named"
        raise DataError(f"key={key}", unknown, remedy=remedy)
    if len(meant) > 1:
        found = ", ".join(sorted(f"{column.removesuffix('_key')} {name}" for name, column in meant.items()))
        raise DataError(f"key={key}", "must match one pseudonym", found=found, remedy="Give more digits")
    (column,) = meant.values()
    shown = "place_key" if column == "place_key" else "slice_key"
    rows = begins[column].sort("series_key", "position_mm", "file", "member", "frame", nulls_last=True)
    lines = []
    chosen = rows.select("file", "member", "frame", "frames", "instance_number", shown)
    for file, member, frame, frames, number, own in chosen.iter_rows():
        says = read_reference(survey.part(file, member), limit=look.limit)
        of_many = frame + 1 if (frames or 1) > 1 else None
        series = says.description or says.series
        lines.append((says.patient, series, number, of_many, survey.name(file, member), own))
    return pl.DataFrame(lines, schema=list(COLUMNS), orient="row")
