"""What is particular about the table that a label page exports."""

from pathlib import Path

from fistula.errors import DataError

MARKS = ("reader", "repeat")  # a table with both, and with a key, is a label page's
BESIDE = (
    *MARKS, "patient_key", "unsure", "note", "date", "clock", "pixel_mm", "position_mm",
    "seconds", "rule",
)  # fmt: skip


def beside_labels(header: list[str]) -> tuple[str, ...]:
    """The columns that such a table may have and that are not for ingest; none for any other table."""
    is_key_there = "slice_key" in header or "patient_key" in header
    return BESIDE if is_key_there and all(name in header for name in MARKS) else ()


def first_answers(
    path: Path, header: list[str], body: list[tuple[int, dict[str, str]]], *, negatives: str
) -> list[tuple[int, dict[str, str]]]:
    """The lines that are labels: of the first showing, and neither unsure nor a point alone; another table whole.

    Raises:
        DataError: If several readers answered (whose labels to take is not for ingest to say), if a slice that a reader
            was unsure of would become negative, or if nothing is left.
    """
    if not beside_labels(header):
        return body
    readers = sorted({cells["reader"] for _, cells in body})
    if len(readers) > 1:
        remedy = "Make one table of them with fistula agree, or keep the lines of one reader"
        raise DataError(path, "must hold the answers of one reader", found=", ".join(readers), remedy=remedy)
    unsure = [line for line, cells in body if cells.get("unsure") == "1"]
    if unsure and negatives != "none":
        rule = f"holds answers that are unsure, which negatives={negatives} would make negative"
        raise DataError(f"{path}, line {unsure[0]}", rule, remedy="Leave out negatives, or decide these answers first")
    answers = [(line, cells) for line, cells in body if cells["repeat"] != "1" and cells.get("label")]
    if not answers:
        raise DataError(path, "must have at least one answer that is a label")
    return answers
