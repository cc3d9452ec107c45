"""Damaged files: every outcome is pixels or a reason; nothing crashes, hangs or allocates without bound."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest


@pytest.fixture
def fuzz(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return import_module("fuzz")


def test_a_mutant_is_always_the_same_and_hardly_ever_the_file_it_came_from(fuzz):
    mutants = [fuzz.mutant(seed) for seed in range(60)]
    assert mutants == [fuzz.mutant(seed) for seed in range(60)]
    originals = {content for _, content, _ in fuzz.sources()}
    assert sum(content in originals for content in mutants) < 10


def test_what_is_written_without_a_mutation_is_what_was_read(fuzz):
    name, content, elements = fuzz.sources()[0]
    assert name == "enhanced"
    start = content.index(b"DICM") + 4
    head = start + 12 + int.from_bytes(content[start + 8 : start + 12], "little")
    assert fuzz.written(elements) == content[head:]


def test_a_traceback_is_no_outcome(fuzz):
    assert not fuzz.is_outcome("Traceback (most recent call last): ...")


def test_an_element_of_unknown_representation_and_no_length_is_no_end(fuzz, write_dicom, tmp_path):
    write_dicom(tmp_path / "a")
    content = (tmp_path / "a").read_bytes()
    place = content.index(b"\x28\x00\x10\x00")
    for vr in (b"ZZ", b"\0\0", b"??"):
        (tmp_path / "b").write_bytes(content[:place] + b"\x18\x00\x50\x00" + vr + b"\0\0" + content[place:])
        assert fuzz.is_outcome(fuzz._outcome(tmp_path / "b"))


@pytest.mark.slow
def test_five_thousand_damaged_files_give_a_slice_or_a_reason_each(fuzz):
    """In a process of its own, which forks: one that has used the tables' threads must not."""
    done = subprocess.run([sys.executable, fuzz.__file__, "--mutants", "5000"], capture_output=True, text=True)
    assert (done.returncode, "FAULT" in done.stdout) == (0, False), done.stdout
    counts = {line[8:]: int(line[:8]) for line in done.stdout.splitlines()[:-2]}
    assert sum(counts.values()) == 5000
    assert counts["slice"] > 500
    assert counts.get("lost", 0) < 50
    seconds, memory = (float(word) for word in re.findall(r"[0-9.]+", done.stdout.splitlines()[-1]))
    assert seconds < 10
    assert memory < 2048
