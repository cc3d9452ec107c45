"""Cohorts of a few patients, made from seeds."""

import subprocess
from pathlib import Path
from shutil import which
from types import SimpleNamespace

import numpy as np
import pytest

HERE = Path(__file__).parent


@pytest.fixture
def make_cohort():
    """A function that makes slices of patients: two models' scores in (0, 1), with ties, patients alike inside."""

    def make(seed=0, *, patients=(12, 10), mixed=3, decimals=2):
        random = np.random.default_rng(seed)
        sizes = random.integers(2, 9, size=sum(patients))
        codes = np.repeat(np.arange(sum(patients)), sizes)
        labels = (codes < patients[0]).astype(int)
        # The first few patients have slices of both classes.
        labels[(codes < mixed) & (random.random(len(codes)) < 0.5)] = 0
        own = random.normal(size=(sum(patients), 2))[codes] + 0.8 * random.normal(size=(len(codes), 2))
        logits = 0.5 * own.sum(axis=1, keepdims=True) + own + 1.2 * labels[:, None] - 0.6
        scores = np.round(1 / (1 + np.exp(-logits)), decimals)
        names = np.array([f"P{code:03d}" for code in codes])
        order = random.permutation(len(codes))
        return SimpleNamespace(
            labels=labels[order], first=scores[order, 0], second=scores[order, 1], patients=names[order]
        )

    return make


@pytest.fixture
def reference():
    """The rows of reference.csv and what R's pROC says of them, stored in reference.txt."""
    return read_rows(HERE / "reference.csv"), read_values((HERE / "reference.txt").read_text())


@pytest.fixture
def ask_r(tmp_path):
    """A function that gives a table to R's pROC; skips where there is no R with pROC."""
    if which("Rscript") is None:
        pytest.skip("Rscript is not installed")
    if subprocess.run(["Rscript", "-e", "library(pROC)"], capture_output=True, check=False).returncode:
        pytest.skip("R is there, its package pROC is not")

    def ask(table):
        path = HERE / "reference.csv" if table == "reference" else tmp_path / "rows.csv"
        arguments = [str(path)] if table == "reference" else [table, str(path)]
        answer = subprocess.run(
            ["Rscript", str(HERE / "reference.R"), *arguments], capture_output=True, check=True, text=True
        )
        return read_rows(path), read_values(answer.stdout)

    return ask


def read_rows(path):
    label, first, second = np.loadtxt(path, delimiter=",", skiprows=1, unpack=True)
    return SimpleNamespace(labels=label, first=first, second=second)


def read_values(text):
    return {name: float(value) for name, value in (line.split() for line in text.splitlines())}
