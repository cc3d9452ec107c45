import random

import polars as pl
import pytest

from fistula.source.survey import FACTS, SEVERAL, _table

SCALARS = {
    pl.Int64: [0, -7, 1 << 53],
    pl.Float64: [0.1, -1e-9, 3.0],
    pl.String: ["", "ä|b", "\0"],
    pl.Boolean: [True, False],
}


def value(kind, chance):
    if chance.random() < 0.2:
        return None
    if isinstance(kind, pl.List):
        return [value(kind.inner, chance) for _ in range(chance.choice((0, 1, 3, 14)))]
    return chance.choice(SCALARS[type(kind)])


@pytest.mark.parametrize("count", [0, 1, SEVERAL - 1, SEVERAL, 3 * SEVERAL])
@pytest.mark.parametrize("seed", range(4))
def test_a_table_made_column_by_column_is_the_one_that_polars_makes_of_rows(count, seed):
    chance = random.Random(seed)
    records = [tuple(value(kind, chance) for kind in FACTS.values()) for _ in range(count)]
    found = _table(records)
    wanted = pl.DataFrame(records, schema=FACTS, orient="row")
    assert found.schema == wanted.schema
    assert found.rows() == wanted.rows()


@pytest.mark.parametrize("empty", [None, [], [None]])
def test_a_column_of_lists_without_a_value_keeps_what_they_are(empty):
    records = [tuple(empty if isinstance(kind, pl.List) else None for kind in FACTS.values())] * SEVERAL
    assert _table(records).rows() == records
