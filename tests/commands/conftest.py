"""Patients of another hospital, for studies that never saw them."""

import os
import sys
from pathlib import Path

import pytest

from fistula.cli import run_command

from ..conftest import PHANTOM


@pytest.fixture(scope="session")
def other(made, tmp_path_factory):
    """A cohort of other patients, read as the study's own."""
    folder = tmp_path_factory.mktemp("other")
    before, argv, there = os.environ.get("FISTULA_PSEUDONYM_KEY_FILE"), sys.argv, Path.cwd()
    os.environ["FISTULA_PSEUDONYM_KEY_FILE"] = str(made / "key")
    os.chdir(folder)
    try:
        run_command("phantom", ["out=phantom", *PHANTOM, "seed=5", "workers=1"])
        settings = ["classes=[normal,fistula]", "size=64", "spacing_mm=1", "workers.count=1"]
        run_command("ingest", ["source=phantom", "labels=phantom/labels.csv", "out=hospital", *settings])
    finally:
        os.chdir(there)
        sys.argv = argv
        os.environ.pop("FISTULA_PSEUDONYM_KEY_FILE")
        if before is not None:
            os.environ["FISTULA_PSEUDONYM_KEY_FILE"] = before
    return folder / "hospital"
