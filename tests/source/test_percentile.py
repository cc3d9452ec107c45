import numpy as np
import pytest

from fistula.source.percentile import percentile

RANDOM = np.random.default_rng(0)
NOISE = RANDOM.normal(1500, 300, (20, 64, 48)).astype(np.float32)
BODY = np.where(RANDOM.random(NOISE.shape) < 0.6, 0, NOISE).astype(np.float32)


@pytest.mark.parametrize("percent", [0, 0.5, 1, 37.3, 50, 60, 99, 99.5, 100])
@pytest.mark.parametrize(
    "values",
    [
        pytest.param(NOISE, id="noise"),
        pytest.param(BODY, id="three fifths masked air"),
        pytest.param(np.rint(NOISE / 400), id="few levels"),
        pytest.param(np.sort(NOISE, axis=None), id="in order, which fools a strided sample the least"),
        pytest.param(np.tile(np.arange(61, dtype=np.float32), 700), id="in step with the sample, which sees one value"),
        pytest.param(np.full((4, 4), 7, np.float32), id="constant"),
        pytest.param(np.array([5.0], np.float32), id="one value"),
        pytest.param(np.array([2.0, 1.0], np.float32), id="two values"),
    ],
)
def test_a_percentile_is_numpys_to_the_last_bit(values, percent):
    assert percentile(values, percent) == np.percentile(values, percent)
