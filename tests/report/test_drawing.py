import pytest
from matplotlib.figure import Figure

from fistula.report.figures.drawing import save


@pytest.mark.parametrize("size", [0, 500, 3000])
def test_a_full_disk_is_the_systems_error_whatever_is_drawn(size, tmp_path, with_a_full_disk):
    figure = Figure()
    figure.subplots().plot([0, 1], [0, 1])
    with pytest.raises(OSError, match="File too large"):
        with_a_full_disk(size, lambda: save(figure, tmp_path, "roc", says="a line"))
