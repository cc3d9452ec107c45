"""Every file in conf/ composes and builds: dead or misspelt configuration fails here."""

import polars as pl
import pytest
from hydra.utils import instantiate

from fistula.cli import config_folder
from fistula.cohort.manifest import read_cohort
from fistula.learning.experiment import build

from .conftest import write_cohort

GROUPS = (
    "audit",
    "model",
    "learning",
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
        folder = write_cohort(tmp_path / "cohort", patients=30)
        cohort = read_cohort(folder)
        with_sites = cohort.manifest.with_columns(
            site=pl.col("patient_key").str.tail(1).is_in(list("01234")).cast(pl.String)
        )
        cfg = compose_train(*overrides, "image_size=32", cohort=folder)
        return build(cfg, cohort, instantiate(cfg.split)(with_sites))

    return build_from


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_builds(built, option):
    if option == "trainer=gpu":
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no graphics card")
    network = [] if option.startswith("model=") else ["model.architecture=test_resnet"]
    run = built(option, *network, "model.pretrained=false")
    assert run.classifier.backbone.network.num_classes == run.data.num_classes


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_builds(built, path):
    name = path.relative_to(config_folder() / "experiment").with_suffix("")
    run = built(f"experiment={name}", "model.pretrained=false")
    assert run.trainer.max_epochs in (50, 100)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_builds_its_first_run(built, path):
    assert built(f"study={path.stem}", "model.architecture=test_resnet", "model.pretrained=false").data.num_classes == 2


def test_the_papers_eight_rows_are_its_table(compose_train):
    rows = [
        compose_train(f"experiment={path.relative_to(config_folder() / 'experiment').with_suffix('')}")
        for path in EXPERIMENTS
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
