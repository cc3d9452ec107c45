import re

from fistula.report.contents import Settings
from fistula.report.names import distinct_names
from fistula.report.page import write_report
from fistula.report.study import read_study

from .conftest import RESAMPLES, write_study


def record(learning, **identity):
    return {"factors": {"model": "resnet18", "learning": learning}, "identity": identity}


def test_configurations_are_named_by_the_factors_in_which_they_differ():
    assert distinct_names([record("transfer"), record("end_to_end")]) == ["transfer", "end-to-end"]


def test_settings_tell_apart_what_the_factors_do_not():
    records = [
        record("transfer", **{"optimizer.lr": 0.1, "ema": 0.0, "seed": 0}),
        record("transfer", **{"optimizer.lr": 0.2, "ema": 0.0, "seed": 1}),
        record("end_to_end", **{"optimizer.lr": 0.3}),
    ]
    assert distinct_names(records) == ["transfer · optimizer.lr 0.1", "transfer · optimizer.lr 0.2", "end-to-end"]


def test_what_a_group_makes_stands_for_its_settings_unless_two_make_the_same():
    ordinal = record("transfer", **{"loss._target_": "fistula.learning.losses.Ordinal", "loss.label_smoothing": None})
    plain, smooth = (
        record(
            "transfer", **{"loss._target_": "fistula.learning.losses.CrossEntropy", "loss.label_smoothing": smoothing}
        )
        for smoothing in (0.0, 0.1)
    )
    assert distinct_names([ordinal, plain]) == ["loss ordinal", "loss cross entropy"]
    assert distinct_names([ordinal, plain, smooth]) == [
        "loss ordinal · loss.label_smoothing None",
        "loss cross entropy · loss.label_smoothing 0.0",
        "loss cross entropy · loss.label_smoothing 0.1",
    ]
    curve = [record("transfer", **{"split.train_fraction": fraction}) for fraction in (0.25, 1)]
    assert distinct_names(curve) == ["25% of the training patients", "100% of the training patients"]


def test_a_model_without_images_has_no_epochs_in_its_name():
    clinical = {"model": "clinical", "learning": "logistic regression", "epochs": 50, "covariates": "age"}
    network = {"model": "resnet18", "learning": "transfer", "epochs": 6, "covariates": "images, age"}
    names = distinct_names([{"factors": factors, "identity": {}} for factors in (clinical, network)])
    assert names == ["clinical · logistic regression · age", "resnet18 · transfer · 6 epochs · images, age"]


def test_a_single_configuration_goes_by_its_network():
    assert distinct_names([record("transfer", seed=0)]) == ["resnet18"]


def test_a_class_named_by_a_number_is_never_taken_for_a_count(tmp_path):
    study = read_study(write_study(tmp_path / "study", classes=("0", "1"), learnings=("transfer",)))
    page = write_report(study, Settings(resamples=RESAMPLES)).read_text()
    assert "In 30 test patients (15 class 1, 15 class 0), the per-patient AUROC was" in page
    text = re.sub(r"<(style|script|svg).*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL)
    assert not re.findall(r"\b15 [01]\b(?![.%])", text)


def test_poolings_of_patients_are_named_by_what_differs():
    units = ("patient, mean pooling", "patient, attention pooling", "slice")
    records = [{"factors": {"model": "resnet18", "unit": unit}, "identity": {}} for unit in units]
    assert distinct_names(records[:2]) == ["mean pooling", "attention pooling"]
    assert distinct_names(records) == ["patient, mean pooling", "patient, attention pooling", "slice by slice"]
