import json

import polars as pl
import pytest

from fistula.audit.audit import Audit
from fistula.audit.gate import pass_gate
from fistula.cohort.manifest import read_cohort
from fistula.cohort.split import PatientHoldout
from fistula.errors import LeakageError

from ..conftest import write_cohort


@pytest.fixture
def cohort(tmp_path):
    return read_cohort(write_cohort(tmp_path / "cohort", patients=20))


@pytest.fixture
def leaking(cohort):
    """A split whose test part holds one slice of a training patient."""
    table = PatientHoldout()(cohort.manifest)
    moved = table.filter(part="train")["slice_key"][0]
    part = pl.when(pl.col("slice_key") == moved).then(pl.lit("test")).otherwise(pl.col("part"))
    return table.with_columns(part=part)


def enter(cohort, table, study, **settings):
    return pass_gate(cohort, table, study, audit=Audit(**settings), split="patient_holdout", leaky_by_design=False)


def test_a_clean_split_passes_and_its_certificate_lies_with_the_study(cohort, tmp_path):
    certificate = enter(cohort, PatientHoldout()(cohort.manifest), tmp_path / "study")
    assert (certificate["verdict"], certificate["is_marked"]) == ("no leak", False)
    assert json.loads((tmp_path / "study" / "audit-patient_holdout.json").read_text()) == certificate


def test_the_next_run_of_the_study_takes_the_certificate_and_another_split_is_audited_anew(
    cohort, leaking, tmp_path, monkeypatch
):
    table = PatientHoldout()(cohort.manifest)
    first = enter(cohort, table, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(Audit, "__call__", lambda *_, **__: pytest.fail("audited a second time"))
        assert enter(cohort, table, tmp_path) == first
    with pytest.raises(LeakageError):
        enter(cohort, leaking, tmp_path)


def test_a_certificate_that_cannot_be_read_is_made_again(cohort, tmp_path):
    table = PatientHoldout()(cohort.manifest)
    first = enter(cohort, table, tmp_path)
    (tmp_path / "audit-patient_holdout.json").write_text("{half")
    assert enter(cohort, table, tmp_path) == first


def test_a_leak_stops_the_run_every_time_and_leaves_its_certificate(cohort, leaking, tmp_path):
    for _ in range(2):
        with pytest.raises(
            LeakageError, match=r"audit-patient_holdout.json: no patient, slice or copy .* found \d+ that"
        ):
            enter(cohort, leaking, tmp_path)
    assert json.loads((tmp_path / "audit-patient_holdout.json").read_text())["verdict"] == "leaks"


def test_a_leak_that_is_allowed_is_marked(cohort, leaking, tmp_path):
    certificate = enter(cohort, leaking, tmp_path, mode="warn")
    assert (certificate["verdict"], certificate["is_marked"]) == ("leaks allowed by audit=warn", True)


def test_findings_are_accepted_by_name_and_the_file_is_read_anew_for_every_run(cohort, leaking, tmp_path):
    found = enter(cohort, leaking, tmp_path / "seen", mode="warn")["findings"]
    accept = tmp_path / "known.txt"
    accept.write_text("".join(f"{finding['id']} the same scan, known\n" for finding in found))
    certificate = enter(cohort, leaking, tmp_path / "study", accept=str(accept))
    assert (certificate["verdict"], certificate["is_marked"]) == ("leaks accepted", True)
    assert all(finding["accepted"] == "the same scan, known" for finding in certificate["findings"])
    accept.write_text("")
    with pytest.raises(LeakageError):
        enter(cohort, leaking, tmp_path / "study", accept=str(accept))
