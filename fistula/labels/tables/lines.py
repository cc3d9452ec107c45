"""What a table of labels says, line by line, whatever it was read from."""

from dataclasses import dataclass, field
from pathlib import Path

# What may name images, and of what a line is then; the first of these that a table has is how it names them.
KEYS = {
    ("sop_instance_uid",): "slice", ("path",): "slice", ("series_instance_uid", "instance_number"): "slice",
    ("study_instance_uid", "instance_number"): "slice", ("accession_number", "instance_number"): "slice",
    ("patient_id", "instance_number"): "slice", ("series_instance_uid",): "series", ("study_instance_uid",): "study",
    ("accession_number",): "study", ("patient_id",): "patient",
    ("slice_key",): "slice", ("patient_key",): "patient",  # pseudonyms, as a label page writes them
}  # fmt: skip
LEVELS = ("slice", "series", "study", "patient")
POINTS = ("opening", "canal")  # the finding, and the centre of the anal canal: NAME_row and NAME_col
POINT_COLUMNS = tuple(f"{point}_{axis}" for point in POINTS for axis in ("row", "col"))


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    line: int  # its number in the file, the header's being 1
    name: tuple[str, ...]  # what names the image or images, one text for each column of the table's key
    frame: int | None  # frame of a multi-frame object, from 1; None for all of them
    label: int | None  # index of its class; None where the cell is empty
    patient: str  # the patient as the table says; empty where it does not
    split: str | None  # train, val, test or None
    site: str | None
    # For each of `POINTS` its row and column in the source image, centre of the first pixel at 0, or None.
    points: tuple[tuple[float, float] | None, ...]
    origin: str = ""  # what says so, where that is no line of a table
    # Further numbers, those of `Labels.covariates` in order; None where one is not known.
    covariates: tuple[float | None, ...] = ()

    @property
    def where(self) -> str:
        """For messages."""
        return self.origin or f"line {self.line}"


@dataclass(frozen=True)
class Labels:
    """A table of labels."""

    path: Path  # the file, for messages
    key: tuple[str, ...]  # columns that name an image: one of `KEYS`
    classes: list[str]  # names in the order of their labels; with two, the last is the positive one
    rows: list[Row]  # its lines, in order
    level: str = "slice"  # what a line labels: a `slice`, or all slices of a `series`, `study` or `patient`
    reader: str = ""  # who answered, of the table of a label page
    has_frames: bool = False  # whether it has the column frame_number; an empty cell stands for all frames of an object
    ignored: tuple[str, ...] = ()  # columns that were left out
    noted: dict[str, int] = field(default_factory=dict)  # counts of what is worth knowing
    # Names of further numbers, each with the two words that stand for 0 and 1, if it has words.
    covariates: dict[str, list[str]] = field(default_factory=dict)

    @property
    def kind(self) -> str | None:
        """Of the images, one of `fistula.source.files.formats.KINDS`; None where the table does not say."""
        if self.key == ("path",):
            # Here, because it opens archives, and a report that draws points must not wait for what reads DICOM.
            from fistula.source.files.formats import kind_of_name

            return kind_of_name(self.rows[0].name[0])
        return "dicom" if self.key[0].endswith("_uid") else None

    @property
    def paths(self) -> frozenset[str]:
        """Of the images below the source that it names, letters composed."""
        return frozenset(row.name[0] for row in self.rows) if self.key == ("path",) else frozenset()
