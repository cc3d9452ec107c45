"""Whether a PatientID is one person's: what the headers of its studies say against it, for certain or perhaps."""

from collections.abc import Iterable
from itertools import combinations

import polars as pl

from fistula.errors import DataError

A_WORD = "several studies, and it is a word that many may share"
# Enough to take the studies of one id for several people's.
NAMES, AGES, AT_ONCE = (
    "names that have no word in common",
    "stated ages that no single date of birth explains",
    "studies on two scanners at the same time",
)
SURE = ("several birth dates", "several sexes", "several issuers", A_WORD, NAMES, AGES, AT_ONCE)
MANY_STUDIES = 5  # of one id without a birth date, and more than half of all: a project's name rather than a person's
AGES_APART = 731  # days; ages are cut to whole years
AT_ONCE_SECONDS = 300  # the clocks of two scanners differ by less
TALLER = 10  # cm, of grown-ups
GROWN_UP = 20.0  # years


def refuse_shared_ids(images: pl.DataFrame, remedy: str) -> None:
    """Refuse a PatientID under which several people seem to stand, and a person under two spellings of one.

    Raises:
        DataError: With what speaks for it, and how many ids it concerns.
    """
    counts = suspected(images.filter(pl.col("is_named"))).select(pl.exclude("patient_key").sum())
    if any(counts.row(0)):
        found = "; ".join(f"{count} with {why}" for why, count in counts.row(0, named=True).items() if count)
        raise DataError("source", "a PatientID must be one person's", found=found, remedy=remedy)
    for key, what in (("birth_key", "with one birth date"), ("study_key", "in one study")):
        if spelt := len(_under_two(images, ["alike_key", key])):
            found = f"{spelt} that differ only in case, punctuation or leading zeros, {what}"
            raise DataError("source", "a person must have one PatientID", found=found, remedy=remedy)


def apart(images: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Images whose PatientID is hardly one person's with their study for the patient; and how many such ids there are.

    For new images, of which no table says who they are, and of which a cohort's rule can refuse none.
    """
    if len(images) == 1:
        return images, 0  # nothing contradicts it
    told = images.filter(pl.col("is_named")).with_columns(said_patient=pl.lit(None, pl.String()))
    shared = suspected(told).filter(pl.any_horizontal(SURE))["patient_key"].to_list()
    is_shared = pl.col("patient_key").is_in(shared)
    return images.with_columns(patient_key=pl.when(is_shared).then("study_key").otherwise("patient_key")), len(shared)


def doubts(images: pl.DataFrame) -> dict[str, int]:
    """How many PatientIDs, or people, have each of what is seldom so of one person, and yet may be; nothing sure."""
    told = images.filter(pl.col("is_named"))
    days = told.filter(pl.col("institution_key").fill_null("") != "").group_by("patient_key", "study_day")
    places = days.agg(pl.col("institution_key").n_unique()).drop_nulls("study_day")
    grown = told.filter(pl.col("age") >= GROWN_UP).group_by("patient_key")
    heights = grown.agg((pl.col("height").max() - pl.col("height").min()).alias("range"))
    studies = told.group_by("patient_key").agg(pl.col("study_key").n_unique())
    most = max(MANY_STUDIES, told["study_key"].n_unique() // 2 + 1)
    one_of_many = images["patient_key"].n_unique() > 1
    numbered = told.filter(pl.col("patient_key").is_in(_numbered(told)))
    repeated = numbered.group_by("patient_key").agg(pl.col("study_key").n_unique()).filter(pl.col("study_key") > 1)
    found = {
        "such as ANON7 with several studies": repeated,
        "with studies at several institutions on one day": places.filter(pl.col("institution_key") > 1),
        f"with heights that differ by more than {TALLER} cm": heights.filter(pl.col("range") > TALLER),
        "with more than half of all studies": studies.filter((pl.col("study_key") >= most) & one_of_many),
    }
    counts = {
        f"PatientIDs {why}, perhaps of several people (see patient=)": rows["patient_key"].n_unique()
        for why, rows in found.items()
    }
    named = images.with_columns(name=pl.col("name_keys").list.sort().list.join(" ").fill_null(""))
    same = {
        "people with several PatientIDs, by birth date, sex and study date": ["person_key"],
        "people with several PatientIDs, by birth date, sex and name": ["birth_key", "sex", "name"],
        "studies with several PatientIDs": ["study_key"],
        "groups of PatientIDs that differ only in case, punctuation or leading zeros": ["alike_key"],
    }
    counts |= {doubt: len(_under_two(named, key)) for doubt, key in same.items()}
    return {doubt: count for doubt, count in counts.items() if count}


def _under_two(images: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """The values of columns that several PatientIDs have in common; none that is unknown."""
    known = images.filter(pl.all_horizontal(pl.col(name).fill_null("") != "" for name in key))
    return known.group_by(key).agg(pl.col("patient_key").n_unique()).filter(pl.col("patient_key") > 1)


def suspected(told: pl.DataFrame) -> pl.DataFrame:
    """A row a PatientID, and for each way in which it may be several people's whether it is.

    `told` are images with a PatientID: columns of a survey's facts, and `said_patient`.
    """
    known = {name: pl.col(f"{name}_key").replace("", None) for name in ("birth", "issuer", "institution")}
    of = told.group_by("patient_key", maintain_order=True).agg(
        *(value.drop_nulls().n_unique().alias(name) for name, value in known.items()),
        pl.col("sex").filter(pl.col("sex").is_in(["F", "M"])).n_unique(),
        pl.col("study_key").n_unique().alias("studies"),
        pl.col("is_default_id").any(),
        pl.col("name_keys").drop_nulls().unique(),
        (pl.col("born").max() - pl.col("born").min()).alias("born_range"),
        # One study that tells who its patient is says nothing of the id's other studies.
        pl.col("study_key").filter(known["birth"].is_not_null()).n_unique().alias("born"),
        # A table that repeats the PatientID, as exports do, says nothing that the header has not said.
        pl.col("study_key").filter(pl.col("said_patient") != pl.col("patient_key")).n_unique().alias("said"),
    )
    of = of.with_columns(
        is_several=pl.Series([_are_several(names) for names in of["name_keys"].to_list()], dtype=pl.Boolean()),
        is_at_once=pl.col("patient_key").is_in(_at_once(told)),
    )
    studies = told["study_key"].n_unique()
    is_said = pl.col("said") == pl.col("studies")
    is_sure = ((pl.col("birth") == 1) & (pl.col("born") == pl.col("studies"))) | is_said
    ways = {
        "several birth dates": pl.col("birth") > 1,
        "several sexes": pl.col("sex") > 1,
        "several issuers": pl.col("issuer") > 1,
        NAMES: pl.col("is_several"),
        AGES: pl.col("born_range").fill_null(0) > AGES_APART,
        AT_ONCE: pl.col("is_at_once"),
        "several institutions": (pl.col("institution") > 1) & ~is_sure,
        A_WORD: pl.col("is_default_id")
        & (pl.col("studies") > 1)
        & ~is_said
        & ~pl.col("patient_key").is_in(_numbered(told)),
        "several studies, more than half of all, and no birth date": (
            (pl.col("studies") >= MANY_STUDIES) & (2 * pl.col("studies") > studies) & ~is_sure
        ),
    }
    return of.select("patient_key", **ways)


def _numbered(told: pl.DataFrame) -> list[str]:
    """Words that end in a number, of ids that count the patients: two of the numbers beside it are ids, too."""
    near = told.filter("is_default_id").select("patient_key", alike_key="near_keys").explode("alike_key").unique()
    beside = near.join(told.select("alike_key").unique(), on="alike_key").group_by("patient_key").len()
    return beside.filter(pl.col("len") > 1)["patient_key"].to_list()


def _are_several(names: Iterable[list[str]]) -> bool:
    """Whether names fall into groups that share no word; a new family name beside the old given one is one person's."""
    groups: list[set[str]] = []
    for name in filter(None, names):
        joined = set(name)
        for group in [one for one in groups if one & joined]:
            joined |= group
            groups.remove(group)
        groups.append(joined)
    return len(groups) > 1


def _at_once(told: pl.DataFrame) -> list[str]:
    """Ids of which two studies were under way on two scanners at one time."""
    # Derived images tell the time of others, or of the workstation.
    is_original = pl.col("image_type").str.starts_with("ORIGINAL") & (pl.col("device_key").fill_null("") != "")
    taken = told.filter(is_original & pl.col("second").is_not_null())
    spans = taken.group_by("patient_key", "study_key", "device_key").agg(
        pl.col("second").min().alias("first"), pl.col("second").max().alias("last")
    )
    spans = spans.filter((pl.col("last") - pl.col("first") >= AT_ONCE_SECONDS) & pl.len().over("patient_key").gt(1))
    found = set()
    for patient, own in spans.partition_by("patient_key", as_dict=True).items():
        rows = sorted(own.select("first", "last", "study_key", "device_key").rows())
        for one, other in combinations(rows, 2):
            is_other = one[2] != other[2] and one[3] != other[3]
            if is_other and min(one[1], other[1]) - other[0] >= AT_ONCE_SECONDS:
                found.add(patient[0])
    return sorted(found)
