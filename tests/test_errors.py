import pickle

import pytest

from fistula.errors import ConfigError, DataError, LeakageError


def test_a_message_says_where_rule_value_and_remedy_on_one_line():
    error = DataError("labels.csv, line 7", "label must be 0 or 1", found="'x'", remedy="Correct\nthe line")
    assert str(error) == "labels.csv, line 7: label must be 0 or 1, found 'x'. Correct the line"


def test_parts_that_are_not_given_leave_no_trace():
    assert str(ConfigError("epochs", "must be at least 1")) == "epochs: must be at least 1"


@pytest.mark.parametrize(("kind", "code"), [(ConfigError, 2), (DataError, 2), (LeakageError, 3)])
def test_each_kind_has_its_exit_code(kind, code):
    assert kind("a", "b").exit_code == code


def test_an_error_survives_the_way_between_processes():
    error = pickle.loads(pickle.dumps(LeakageError("split", "leaks", found=3, remedy="Mend it")))
    assert (type(error), str(error)) == (LeakageError, "split: leaks, found 3. Mend it")
