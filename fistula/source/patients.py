"""Who the patient of each image is: by the headers, the table, or a rule; contradictions and shared ids are refused."""

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import polars as pl

from fistula.dicom.identity import Pseudonyms
from fistula.errors import ConfigError, DataError, first_of
from fistula.source.shared_ids import refuse_shared_ids
from fistula.source.survey import Survey

WORDS = ("compared", "header", "column", "joined", "issuer", "study")
REMEDY = (
    "State who is right: patient=header (PatientID), patient=column (the table's patient_id), patient=joined (all that"
    " either takes for one), patient=issuer (PatientID with its issuer), patient=study, patient=folder:1 (the first"
    ' folder below source) or a pattern of the path, "patient=(?P<patient>PATTERN)"'
)


@dataclass(frozen=True)
class PatientRule:
    """What names the patient of an image."""

    # `compared` (the PatientID, which the table's patient_id must not contradict), `header`, `column`, `joined`,
    # `issuer`, `study`, `folder:N`, or a regular expression of the path with a group `patient`.
    word: str = "compared"

    def __post_init__(self) -> None:
        if self.word in WORDS or re.fullmatch(r"folder:[1-9]\d*", self.word):
            return
        try:
            if "patient" in re.compile(self.word).groupindex:
                return
        except re.error:
            pass
        choices = f"{', '.join(WORDS)}, folder:N or a regular expression with (?P<patient>...)"
        raise ConfigError("patient", f"must be {choices}", found=self.word)

    @property
    def is_of_path(self) -> bool:
        """Whether the path alone decides."""
        return self.word not in WORDS

    def named(self, survey: Survey, images: pl.DataFrame, pseudonyms: Pseudonyms) -> pl.DataFrame:
        """Images with the `patient_key` that the rule gives before any table is looked at.

        Raises:
            DataError: If a path does not say.
        """
        if self.word in ("compared", "header", "column", "joined"):
            return images
        if self.word == "study":
            return images.with_columns(patient_key="study_key")
        if self.word == "issuer":
            pair = images.select(pl.concat_str("issuer_key", "patient_key", separator="|")).to_series()
            return images.with_columns(patient_key=_mapped(pair, lambda text: pseudonyms("patient of issuer", text)))
        places = images.select("file", pl.col("member").fill_null("")).unique(maintain_order=True)
        keys = [pseudonyms("patient", self._of_path(survey.name(*place))) for place in places.iter_rows()]
        named = images.select("file", pl.col("member").fill_null("")).join(
            places.with_columns(key=pl.Series(keys, dtype=pl.String())),
            on=["file", "member"],
            how="left",
            maintain_order="left",
        )
        return images.with_columns(patient_key=named["key"], is_named=pl.lit(True))

    def _of_path(self, path: str) -> str:
        if self.word.startswith("folder:"):
            folders, level = path.split("/")[:-1], int(self.word.removeprefix("folder:"))
            name = folders[level - 1] if len(folders) >= level else ""
        else:
            # Without a slash it is a pattern of one name, the file's first: [^_]+ would else take the folders with it.
            names = [path] if "/" in self.word else reversed(path.split("/"))
            found = next((match for name in names if (match := re.search(self.word, name))), None)
            name = (found["patient"] or "") if found else ""
        name = unicodedata.normalize("NFC", name)
        if not name:
            raise DataError(f"patient={self.word}", "must name a patient in every path", found=path)
        return name

    def of_headers(self, survey: Survey, images: pl.DataFrame, pseudonyms: Pseudonyms) -> pl.DataFrame:
        """Images with their final `patient_key` where no table says anything; as `named` and `settled`."""
        unsaid = {"line": pl.lit(None, pl.Int64()), "said_patient": pl.lit(None, pl.String())}
        return self.settled(self.named(survey, images, pseudonyms).with_columns(**unsaid))

    def settled(self, images: pl.DataFrame) -> pl.DataFrame:
        """Images with their final `patient_key`, null where the rule is `column` and the table does not say.

        Images have the columns of a survey's facts, `line` and `said_patient` (pseudonym of the table's patient_id).

        Raises:
            DataError: If header and table contradict each other, or an id is shared by several people.
        """
        if self.word == "column":
            return _by_column(images)
        if self.word == "joined":
            return _joined(images)
        if self.word != "compared":
            return images
        images = _filled(images)
        _refuse_contradictions(images)
        refuse_shared_ids(images, REMEDY)
        return images


def _mapped(values: pl.Series, name: Callable) -> pl.Series:
    names = {value: name(value) for value in values.unique().to_list()}
    return pl.Series([names[value] for value in values.to_list()], dtype=pl.String())


def _filled(images: pl.DataFrame) -> pl.DataFrame:
    """Where there is no PatientID the table's patient_id stands for it: for all slices of the study, or for none."""
    lines = images.filter(~pl.col("is_named") & pl.col("line").is_not_null())
    half = lines.group_by("patient_key").agg(
        pl.col("said_patient").is_null().any().alias("some"), pl.col("said_patient").n_unique().alias("ids"), "line"
    )
    half = half.filter(pl.col("ids") > 1)
    if len(half):
        rule = "an image without PatientID needs a patient_id on every line of its study, and the same one"
        raise DataError("labels", rule, found=_lines(half["line"].explode()), remedy=REMEDY)
    said = lines.drop_nulls("said_patient").select("patient_key", gap="said_patient").unique()
    # Where the table gives another patient with a PatientID the same name, they are one.
    same = images.filter(pl.col("is_named")).drop_nulls("said_patient").select("patient_key", gap="said_patient")
    same = same.unique("gap", keep="first", maintain_order=True).rename({"patient_key": "known"})
    said = said.join(same, on="gap", how="left").with_columns(gap=pl.coalesce("known", "gap")).drop("known")
    images = images.join(said, on="patient_key", how="left", maintain_order="left")
    return images.with_columns(patient_key=pl.coalesce("gap", "patient_key")).drop("gap")


def _refuse_contradictions(images: pl.DataFrame) -> None:
    told = images.filter(pl.col("is_named")).drop_nulls("said_patient")
    rule = "the PatientID of the headers and the patient_id of the table must name the same people"
    ids = images.filter(pl.col("is_named"))["patient_key"].unique().to_list()
    is_others = (pl.col("said_patient") != pl.col("patient_key")) & pl.col("said_patient").is_in(ids)
    if len(twisted := told.filter(is_others)):
        found = f"patient_id that is another one's PatientID on {_lines(twisted['line'])}"
        raise DataError("labels", rule, found=found, remedy=REMEDY)
    for one, many, words in (
        ("patient_key", "said_patient", "one PatientID has several patient_id"),
        ("said_patient", "patient_key", "one patient_id has several PatientID"),
    ):
        groups = told.group_by(one, maintain_order=True).agg(pl.col(many).n_unique(), "line")
        twisted = groups.filter(pl.col(many) > 1)
        if len(twisted):
            found = f"{words}: {len(twisted)} such, as on {_lines(twisted['line'].to_list()[0])}"
            raise DataError("labels", rule, found=found, remedy=REMEDY)


def _by_column(images: pl.DataFrame) -> pl.DataFrame:
    """The table's patient_id for all slices of the series, else of the study, that a line with one is in."""
    for where in ("series_key", "study_key"):
        said = images.drop_nulls("said_patient").group_by(where).agg(pl.col("said_patient").unique(), "line")
        if where == "series_key" and len(several := said.filter(pl.col("said_patient").list.len() > 1)):
            rule = "the slices of a series must have one patient_id"
            raise DataError("labels", rule, found=_lines(several["line"].explode()))
        one = said.filter(pl.col("said_patient").list.len() == 1).select(where, found=pl.col("said_patient").list[0])
        images = images.join(one, on=where, how="left", maintain_order="left")
        images = images.with_columns(said_patient=pl.coalesce("said_patient", "found")).drop("found")
    return images.with_columns(patient_key="said_patient")


def _joined(images: pl.DataFrame) -> pl.DataFrame:
    """One patient for all that PatientID or patient_id join."""
    leader: dict[str, str] = {}

    def lead(key: str) -> str:
        while leader.setdefault(key, key) != key:
            key = leader[key]
        return key

    for pair in images.drop_nulls("said_patient").select("patient_key", "said_patient").unique().rows():
        first, second = sorted(map(lead, pair))
        leader[second] = first
    return images.with_columns(patient_key=_mapped(images["patient_key"], lead))


def _lines(lines: Iterable[int]) -> str:
    return f"lines {first_of(sorted(set(lines)), 4)}"
