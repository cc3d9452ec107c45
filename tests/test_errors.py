import pickle
import re
import shutil
import subprocess

import pytest

from fistula.errors import ConfigError, DataError, LeakageError, as_typed


@pytest.mark.parametrize(
    ("found", "said"), [("it failed.", "it failed. Do"), ("a, b, ...", "a, b, .... Do"), ("..", "... Do")]
)
def test_a_point_that_a_library_has_set_is_not_said_twice_and_a_list_that_goes_on_keeps_its_own(found, said):
    assert str(ConfigError("key", "must be", found=found, remedy="Do")).endswith(f"found {said}")


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


WORDS = ("out=data/cohort", "classes=[a,b c]", "keep.component=[water,'']", "patient=(?P<p>[^_]+)_", "source=MR (2024)",
         "labels=labels-AB-*.csv", 'say "so"', "$HOME", "back\\slash", "肛瘘", "O'Brien", "")  # fmt: skip


@pytest.mark.parametrize("shell", ["bash", "zsh", "sh"])
def test_words_reach_a_command_as_they_are(shell):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on this machine")
    line = " ".join(["printf '%s\\0'", *map(as_typed, WORDS)])
    found = subprocess.run([shell, "-c", line], capture_output=True, check=True, encoding="utf-8").stdout
    assert found == "".join(f"{word}\0" for word in WORDS)


@pytest.mark.parametrize("word", [word for word in WORDS if not re.search(r'["$`!\\]', word)])
def test_no_word_stands_in_single_quotes_which_mean_nothing_to_windows(word):
    """PowerShell and cmd take what stands between double quotes as it is, but for $ ` " and, in cmd, %."""
    assert as_typed(word) in (word, f'"{word}"')
