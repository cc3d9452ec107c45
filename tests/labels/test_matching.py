import time

import polars as pl

from fistula.dicom.identity import read_pseudonyms
from fistula.labels.matching import refuse_unmatched
from fistula.labels.tables.read import read_labels

LINES = 20_000


def test_lines_without_an_image_are_counted_in_a_time_that_grows_with_their_number_not_its_square(tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("slice_key,label\n" + "".join(f"{line},{line % 2}\n" for line in range(LINES)))
    labels = read_labels(table)
    lines = pl.Series("line", [row.line for row in labels.rows])
    wanted, others = pl.DataFrame({"line": lines[:-3]}), pl.DataFrame({"line": lines[-3:-1]})
    started = time.process_time()
    counts = refuse_unmatched(wanted, others, labels, None, policy="exclude", pseudonyms=read_pseudonyms(create=True))
    assert counts == {"labels for no image": 1, "labels for images left out": 2}
    assert time.process_time() - started < 1  # a set made anew for each line takes some ten seconds
