import logging

import pytest
from pytorch_lightning.loggers import CSVLogger

from fistula.learning.tracking import Trackers


class FullDisk(CSVLogger):
    """A tracker whose disk is full."""

    def log_metrics(self, metrics, step=None):
        raise OSError(28, "No space left on device")


@pytest.fixture
def trackers(tmp_path):
    return Trackers({"first": FullDisk(tmp_path, name="first"), "second": CSVLogger(tmp_path, name="second")})


def test_a_tracker_that_fails_is_left_out_and_said_once_and_the_others_go_on(trackers, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        for step in range(3):
            trackers.log_metrics({"loss": 0.5}, step)
    trackers.save()
    assert [record.message for record in caplog.records] == [
        "logger=first failed ([Errno 28] No space left on device): the run continues without it"
    ]
    (table,) = tmp_path.glob("second/*/metrics.csv")
    assert table.read_text().splitlines()[1:] == ["0.5,0", "0.5,1", "0.5,2"]


@pytest.mark.parametrize(
    ("error", "said"),
    [(ValueError("\n  no table\n"), "no table"), (ValueError("\n"), "ValueError"), (OSError(), "OSError")],
)
def test_what_a_tracker_says_when_it_fails_is_its_first_line_with_words(trackers, caplog, error, said):
    def fail(_):
        raise error

    trackers.each(fail)
    assert {record.message.partition(" failed ")[2] for record in caplog.records} == {
        f"({said}): the run continues without it"
    }


def test_fitting_does_not_close_what_the_results_still_go_to(trackers, tmp_path):
    trackers.finalize("success")
    assert not list(tmp_path.glob("second/*/metrics.csv"))
