import json
import sqlite3

import pytest

optuna = pytest.importorskip("optuna", reason="the extra `optuna` is not installed")

from hydra.core.override_parser.overrides_parser import OverridesParser  # noqa: E402
from spots import write_places  # noqa: E402

from fistula.sweep.search import distribution  # noqa: E402

from ..conftest import TINY_RUN, write_cohort  # noqa: E402


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x=choice(a,b)", optuna.distributions.CategoricalDistribution(["a", "b"])),
        ("x=range(2,9,3)", optuna.distributions.IntDistribution(2, 8, step=3)),
        ("x=interval(0.1,0.5)", optuna.distributions.FloatDistribution(0.1, 0.5)),
        ("x=tag(log,interval(1,64))", optuna.distributions.FloatDistribution(1, 64, log=True)),
    ],
)
def test_hydras_words_for_a_sweep_are_what_optuna_draws_from(text, expected):
    (override,) = OverridesParser.create().parse_overrides([text])
    assert distribution(override) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("level", "choice"),
    [("slice", ("head=choice(classify,locate)",)), ("patient", ("unit=patient", "pooling=choice(mean,attention)"))],
    ids=["slices", "patients"],
)
def test_a_search_is_nested_resumed_and_chooses_by_validation_alone(fistula_here, tmp_path, level, choice):
    cohort = write_places(tmp_path / "cohort")
    run = [text for text in TINY_RUN if not text.startswith("split")]
    search = ("study=tune", "hydra.sweeper.outer={split.fold: 'range(2)'}", "split.folds=3", "hydra.sweep.dir=study")
    space = (
        "learning=end_to_end", "augmentation=none", "optimizer.lr=tag(log, interval(1e-4, 1e-2))", "epochs=2", *choice,
    )  # fmt: skip
    command = ("train", "-m", f"cohort={cohort}", *run, *search, *space, "hydra/launcher=in_process")
    code, shown, error = fistula_here(*command, "hydra.sweeper.trials=1")
    assert code == 0, shown + error
    code, shown, error = fistula_here(*command, "hydra.sweeper.trials=3")
    assert code == 0, shown + error
    trials = [json.loads(path.read_text()) for path in tmp_path.glob("study/search/*/run.json")]
    assert sorted(trial["fold"] for trial in trials) == [0, 0, 0, 1, 1, 1]
    with sqlite3.connect(tmp_path / "study" / "search" / "search.db") as database:
        values = [value for (value,) in database.execute("select value from trial_values")]
        reported = database.execute("select count(*) from trial_intermediate_values").fetchone()
    assert reported == (12,)  # each epoch of each trial, by the run itself
    assert sorted(values) == sorted(trial["metrics"]["val"][level]["auroc"]["value"] for trial in trials)
    for path in tmp_path.glob("study/**/run.json"):
        locates = any(key.startswith("head.") for key in json.loads(path.read_text())["identity"])
        assert (path.parent / "places.parquet").exists() == locates
    final = [json.loads(path.read_text()) for path in tmp_path.glob("study/*/run.json")]
    for fold in (0, 1):
        best = max(trial["metrics"]["val"][level]["auroc"]["value"] for trial in trials if trial["fold"] == fold)
        assert best in [run["metrics"]["val"][level]["auroc"]["value"] for run in final if run["fold"] == fold]


def test_a_hopeless_trial_is_cut_short(compose_train, tmp_path, monkeypatch):
    from hydra.utils import instantiate

    from fistula.cohort.manifest import read_cohort
    from fistula.learning.callbacks import PrunedError
    from fistula.learning.experiment import build

    storage = f"sqlite:///{tmp_path}/search.db"
    study = optuna.create_study(study_name="fold", storage=storage, direction="maximize")
    for _ in range(5):
        trial = study.ask()
        for epoch in range(8):
            trial.report(1.5, epoch)  # better than any AUROC
        study.tell(trial, 1.5)
    number = study.ask().number
    cohort = read_cohort(write_cohort(tmp_path / "cohort"))
    monkeypatch.setenv("FISTULA_TRIAL", json.dumps({"storage": storage, "study": "fold", "number": number}))
    cfg = compose_train(*TINY_RUN, "epochs=8", "trainer.num_sanity_val_steps=1", cohort=tmp_path / "cohort")
    experiment = build(cfg, cohort, instantiate(cfg.split)(cohort.manifest))
    with pytest.raises(PrunedError, match=rf"trial {number}: cut short after epoch 4: worse than most others"):
        experiment.fit()
