"""Places through whatever else training has: half precision, parts of a batch, averaged weights, a power cut."""

import copy

import numpy as np
import polars as pl
import pytest
import torch
from hydra.utils import instantiate
from spots import write_places

from fistula.cohort.manifest import read_cohort
from fistula.learning.experiment import build
from fistula.learning.training.scoring import score_parts

RUN = (
    "model.architecture=test_resnet", "learning=end_to_end", "image_size=32", "batch_size=8", "trainer=cpu",
    "logger=csv", "split=predefined", "head=locate", "head.width=8", "optimizer.lr=0.01", "epochs=3",
)  # fmt: skip


@pytest.fixture
def make(compose_train, tmp_path):
    """Assemble a run that finds places, in a folder by its name."""
    cohort = read_cohort(write_places(tmp_path / "cohort", patients=20, slices=3))

    def made(name, *overrides):
        cfg = compose_train(*RUN, *overrides, cohort=cohort.folder)
        cfg.output_dir = str(tmp_path / name)
        (tmp_path / name).mkdir(exist_ok=True)
        return build(cfg, cohort, instantiate(cfg.split)(cohort.manifest))

    return made


def stored(experiment):
    return [pl.read_parquet(experiment.folder / f"{name}.parquet") for name in ("predictions", "places")]


def test_places_are_found_in_half_precision_as_in_single(make):
    experiment = make("half", "trainer.precision=bf16-mixed")
    experiment.train(description={})
    scores, places = stored(experiment)
    single, _, found = score_parts(experiment.classifier, experiment.data, fold=0)
    assert not scores["score"].equals(single["score"])  # it was half precision
    np.testing.assert_allclose(scores["score"], single["score"], atol=0.03)
    np.testing.assert_allclose(places["peak"], found["peak"], atol=0.03)
    far = np.hypot(*(places.select("row", "col").to_numpy() - found.select("row", "col").to_numpy()).T)
    assert np.median(far) < 1  # a quarter of the map's pixel, whose peak is found to a fraction of one


def test_parts_of_a_batch_teach_what_the_whole_batch_does(make):
    classifier = make("parts").classifier.eval()  # batch norms see the parts; all else sees slices one by one
    torch.manual_seed(0)
    torch.nn.init.normal_(classifier.head.out.weight)
    points = torch.rand(8, 2, 2) * 31
    points[4:, 0] = torch.nan
    images = torch.randint(0, 256, (8, 1, 32, 32), dtype=torch.uint8)
    batch = {"image": images, "label": torch.tensor([1, 1, 1, 1, 0, 0, 0, 1]), "points": points}
    classifier.log = lambda *args, **kwargs: None
    classifier._note = lambda loss: None

    def taught(*batches):
        own = copy.deepcopy(classifier)
        for one in batches:
            (own.training_step(one, 0) / len(batches)).backward()
        return [value.grad for value in own.parameters() if value.grad is not None]

    halves = ({name: values[part::2] for name, values in batch.items()} for part in range(2))
    for whole, parts in zip(taught(batch), taught(*halves), strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_the_averaged_weights_are_those_that_find_places(make):
    averaged, plain, parts = make("averaged", "ema=0.9"), make("plain"), make("parts", "micro_batches=2")
    for experiment in (averaged, plain, parts):
        experiment.train(description={})
    for experiment in (averaged, parts):
        assert not stored(experiment)[1]["row"].equals(stored(plain)[1]["row"])
    weights = torch.load(averaged.folder / "best.ckpt", weights_only=True)["state_dict"]
    averaged.classifier.load_state_dict(weights)
    assert score_parts(averaged.classifier, averaged.data, fold=0)[2].equals(stored(averaged)[1])


class PowerCut(BaseException):
    """Ends a training without anyone being asked."""


@pytest.mark.parametrize("extra", [(), ("unit=patient", "pooling=attention", "ema=0.9", "batch_size=2")], ids=" ".join)
def test_an_interrupted_training_names_the_same_places(make, extra):
    extra = (*extra, "augmentation=mr")
    whole = make("whole", *extra)
    whole.train(description={})
    for until in (2, 8):
        broken = make("broken", *extra)
        step = broken.classifier.training_step

        def cut(batch, batch_idx, *, step=step, broken=broken, until=until):
            if broken.trainer.global_step == until:
                raise PowerCut
            return step(batch, batch_idx)

        broken.classifier.training_step = cut
        with pytest.raises(PowerCut):
            broken.train(description={})
    assert (broken.folder / "last.ckpt").exists()
    mended = make("broken", *extra)
    mended.train(description={})
    for one, other in zip(stored(whole), stored(mended), strict=True):
        assert one.equals(other)
