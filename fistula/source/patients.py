"""Who the patient of each image is: by the headers, the table, or a rule; contradictions and shared ids are refused."""

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import polars as pl

from fistula.dicom.identity import Pseudonyms
from fistula.errors import ConfigError, DataError
from fistula.source.survey import Survey

WORDS = ("compared", "header", "column", "joined", "issuer", "study")
REMEDY = (
    "Say who is right: patient=header (PatientID), patient=column (the table's patient_id), patient=joined (all that"
    " either takes for one), patient=issuer (PatientID with its issuer), patient=study, patient=folder:1 (the first"
    " folder below source) or patient='(?P<patient>PATTERN)' of the path"
)
A_WORD = "studies, and it is a word that many may share"
SURE = ("birth dates", "sexes", "issuers", A_WORD)  # enough to take the studies of one id for several people's
MANY_STUDIES = 5  # of one id without a birth date, and more than half of all: a project's name rather than a person's


@dataclass(frozen=True)
class PatientRule:
    """What names the patient of an image.

    Args:
        word: `compared` (the PatientID, which the table's patient_id must not contradict), `header`, `column`,
            `joined`, `issuer`, `study`, `folder:N`, or a regular expression of the path with a group `patient`.
    """

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

    def settled(self, images: pl.DataFrame) -> pl.DataFrame:
        """Images with their final `patient_key`, null where the rule is `column` and the table does not say.

        Args:
            images: Columns of a survey's facts, `line` and `said_patient` (pseudonym of the table's patient_id).

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
        _refuse_shared_ids(images)
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
    for one, many, words in (
        ("patient_key", "said_patient", "one PatientID stands with several patient_id"),
        ("said_patient", "patient_key", "one patient_id stands with several PatientID"),
    ):
        groups = told.group_by(one, maintain_order=True).agg(pl.col(many).n_unique(), "line")
        twisted = groups.filter(pl.col(many) > 1)
        if len(twisted):
            found = f"{words}: {len(twisted)} such, as on {_lines(twisted['line'].to_list()[0])}"
            rule = "the PatientID of the headers and the patient_id of the table must name the same people"
            raise DataError("labels", rule, found=found, remedy=REMEDY)


def _refuse_shared_ids(images: pl.DataFrame) -> None:
    """Refuse a PatientID under which several people seem to stand."""
    suspected = _suspected(images.filter(pl.col("is_named")))
    counts = suspected.select(pl.exclude("patient_key").sum())
    if any(counts.row(0)):
        found = "; ".join(f"{count} with several {why}" for why, count in counts.row(0, named=True).items() if count)
        rule = "a PatientID must be one person's"
        raise DataError("source", rule, found=found, remedy=REMEDY)


def apart(images: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Images whose PatientID is hardly one person's with their study for the patient; and how many such ids there are.

    For new images, of which no table says who they are, and of which a cohort's rule can refuse none.
    """
    told = images.filter(pl.col("is_named")).with_columns(said_patient=pl.lit(None, pl.String()))
    suspected = _suspected(told).filter(pl.any_horizontal(SURE))["patient_key"].to_list()
    is_shared = pl.col("patient_key").is_in(suspected)
    return images.with_columns(patient_key=pl.when(is_shared).then("study_key").otherwise("patient_key")), len(
        suspected
    )


def _suspected(told: pl.DataFrame) -> pl.DataFrame:
    """A row a PatientID, and for each way in which it may be several people's whether it is."""
    known = {name: pl.col(f"{name}_key").replace("", None) for name in ("birth", "issuer", "institution")}
    of = told.group_by("patient_key", maintain_order=True).agg(
        *(value.drop_nulls().n_unique().alias(name) for name, value in known.items()),
        pl.col("sex").filter(pl.col("sex").is_in(["F", "M"])).n_unique(),
        pl.col("study_key").n_unique().alias("studies"),
        pl.col("is_default_id").any(),
        # One study that tells who its patient is says nothing of the id's other studies.
        pl.col("study_key").filter(known["birth"].is_not_null()).n_unique().alias("born"),
        pl.col("study_key").filter(pl.col("said_patient").is_not_null()).n_unique().alias("said"),
    )
    studies = told["study_key"].n_unique()
    is_said = pl.col("said") == pl.col("studies")
    is_sure = ((pl.col("birth") == 1) & (pl.col("born") == pl.col("studies"))) | is_said
    suspected = {
        "birth dates": pl.col("birth") > 1,
        "sexes": pl.col("sex") > 1,
        "issuers": pl.col("issuer") > 1,
        "institutions": (pl.col("institution") > 1) & ~is_sure,
        A_WORD: pl.col("is_default_id") & (pl.col("studies") > 1) & ~is_said,
        "studies, more than half of all, and no birth date": (
            (pl.col("studies") >= MANY_STUDIES) & (2 * pl.col("studies") > studies) & ~is_sure
        ),
    }
    return of.select("patient_key", **suspected)


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
    numbers = sorted(set(lines))
    return f"lines {', '.join(map(str, numbers[:4]))}{', ...' if len(numbers) > 4 else ''}"
