"""Every file in conf/ composes and builds: dead or misspelt configuration fails here."""

import re

import polars as pl
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from fistula.cli import COMMANDS, config_folder
from fistula.cohort.manifest import read_cohort
from fistula.learning.experiment import build
from fistula.source.intensity import TYPED
from fistula.sweep.folder.run import register_run_name

from .conftest import write_cohort
from .two_sequences import write_two_sequences

GROUPS = (
    "audit",
    "model",
    "learning",
    "pooling",
    "labelling",
    "augmentation",
    "sampler",
    "loss",
    "stopping",
    "split",
    "optimizer",
    "schedule",
    "trainer",
    "logger",
    "operating_point",
)
OPTIONS = [f"{group}={file.stem}" for group in GROUPS for file in sorted((config_folder() / group).glob("*.yaml"))]
EXPERIMENTS = sorted((config_folder() / "experiment").rglob("*.yaml"))
STUDIES = sorted((config_folder() / "study").glob("*.yaml"))


@pytest.fixture
def built(compose_train, tmp_path):
    """Build what overrides compose, from random weights: pretrained ones are a test of their own."""

    def build_from(*overrides):
        classes = ("0", "1", "2") if "loss=ordinal" in overrides else ("0", "1")
        if "study=sequences" in overrides:
            folder = write_two_sequences(tmp_path / "cohort", patients=30)
        else:
            folder = write_cohort(tmp_path / "cohort", patients=30, classes=classes)
        cohort = read_cohort(folder)
        with_sites = cohort.labelled.with_columns(
            site=pl.col("patient_key").str.tail(1).is_in(list("01234")).cast(pl.String)
        )
        cfg = compose_train("image_size=32", *overrides, cohort=folder)
        return build(cfg, cohort, instantiate(cfg.split)(with_sites))

    return build_from


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_builds(built, option):
    if option == "trainer=gpu":
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no graphics card")
    # 112 is a multiple of 14 and of 16, the sides of the patches of the transformers.
    network = ["image_size=112"] if option.startswith("model=") else ["model.architecture=test_resnet"]
    run = built(option, *network, "++model.pretrained=false")
    assert run.classifier.backbone.network.num_classes == run.data.num_classes


@pytest.mark.parametrize("command", COMMANDS)
def test_every_key_is_read(command):
    """By the code or by another key; arguments of a `_target_`, or of a call with `**cfg.KEY`, are held by the call."""
    register_run_name()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        cfg = compose(command)
    code = "\n".join(path.read_text() for path in sorted(config_folder().parent.rglob("fistula/**/*.py")))
    conf = "\n".join(path.read_text() for path in sorted(config_folder().rglob("*.yaml")))
    keys = list(own_keys(cfg, passed_whole=re.findall(r"\*\*cfg\.(\w+)", code)))
    assert len(keys) > 1
    unread = [
        key
        for key in keys
        if not re.search(rf"""cfg(\.\w+)*\.{key}\b|config(\.\w+)*\.{key}\b|["']{key}["']""", code)
        and not re.search(rf"\$\{{[\w.]*\b{key}\}}", conf)
    ]
    assert unread == []


def own_keys(cfg, passed_whole):
    for key in cfg:
        node = None if OmegaConf.is_missing(cfg, key) else cfg._get_node(key)
        if not isinstance(node, DictConfig) or node._is_none():
            yield key
        elif "_target_" not in node and key not in passed_whole:
            yield from own_keys(node, passed_whole)


def test_what_libraries_tell_of_their_own_work_stays_off_the_terminal():
    settings = OmegaConf.load(config_folder() / "hydra" / "job_logging" / "fistula.yaml")
    assert (settings.root.level, settings.loggers.fistula.level) == ("WARNING", "INFO")
    for command in COMMANDS:
        text = (config_folder() / f"{command}.yaml").read_text(encoding="utf-8")
        assert "override hydra/job_logging: fistula\n" in text, command


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_builds(built, path):
    name = path.relative_to(config_folder() / "experiment").with_suffix("")
    run = built(f"experiment={name}", "model.pretrained=false")
    assert run.trainer.max_epochs in (2, 50, 100)


@pytest.mark.parametrize("study", ["single", "curve"])
def test_what_is_recommended_adds_seeds_to_any_study(study):
    register_run_name()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        alone, seeded = (
            compose("train", [f"study={study}", *told], return_hydra_config=True).hydra.sweeper.params
            for told in ([], ["experiment=recommended"])
        )
    assert seeded == {**alone, "seed": "0,1,2"}


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_builds_its_first_run(built, path):
    assert built(f"study={path.stem}", "model.architecture=test_resnet", "model.pretrained=false").data.num_classes == 2


def test_the_papers_eight_rows_are_its_table(compose_train):
    rows = [
        compose_train(f"experiment={path.relative_to(config_folder() / 'experiment').with_suffix('')}")
        for path in EXPERIMENTS
        if path.parent.name == "paper"
    ]
    composed = [
        (row.model.architecture, row.learning.pretrained, row.epochs, len(row.augmentation.transforms)) for row in rows
    ]
    assert composed == [
        ("resnet18", True, 50, 0),
        ("resnet18", True, 100, 0),
        ("resnet18", True, 50, 1),
        ("resnet18", False, 50, 0),
        ("resnet34", True, 50, 0),
        ("resnet34", False, 50, 0),
        ("densenet121", True, 50, 0),
        ("densenet121", False, 50, 0),
    ]


def test_every_mapping_of_intensities_is_said_by_the_option_that_makes_it():
    files = (config_folder() / "intensity").glob("*.yaml")
    assert {OmegaConf.load(path)._target_.rpartition(".")[2]: path.stem for path in files} == TYPED
