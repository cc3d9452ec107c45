import polars as pl
from rich.console import Console

from fistula.source.flow import Flow


def test_the_table_says_whose_images_remain_where_that_changes():
    rows = pl.DataFrame({"file": [0, 1, 2], "member": [""] * 3, "patient_key": ["a", "b", "c"]})
    flow = Flow()
    flow.add("found", rows, unit="files")
    flow.add("readable", rows, unit="files")
    flow.add("labelled", rows.head(2), unit="slices", excluded={"of a patient without a label": 1})
    flow.count_patients(rows.head(2).with_columns(label=pl.Series([0, 1])), ["normal", "1"])
    console = Console(width=140)
    with console.capture() as shown:
        console.print(flow.table())
    lines = [[cell.strip() for cell in line.split("│")] for line in shown.get().splitlines() if "│" in line]
    assert lines == [
        ["found", "3 files", "1 normal, 1 class 1, 1 without a label", "", ""],
        ["readable", "3 files", "unchanged", "", ""],
        ["labeled patients", "2 slices", "1 normal, 1 class 1", "1", "of a patient without a label"],
    ]
