import json

import albumentations
import numpy as np
import polars as pl
import pytest
import torch
from conftest import write_cohort
from spots import write_places

from fistula.cohort.manifest import manifest_fingerprint, read_cohort
from fistula.errors import ConfigError
from fistula.explain.cam import saliency
from fistula.explain.pointing import randomised
from fistula.learning.backbone import create_backbone
from fistula.learning.building.judging import features_of, found, pool
from fistula.learning.classifier import FistulaClassifier
from fistula.learning.data.slices import draw
from fistula.learning.heads import Locate, marks_of
from fistula.learning.pipeline import Pipeline, following, refuse_mirrors
from fistula.learning.places.points import kinds_of, points_of, side_of_labels
from fistula.learning.training.scoring import score_parts
from fistula.sweep.plan import Planner

LOCATE = {"width": 8, "sigma_mm": 2.0, "sigma_share": 0.03, "weight": 1.0, "joint": True}
RUN = (
    "model.architecture=test_resnet", "learning=end_to_end", "image_size=32", "batch_size=8", "trainer=cpu",
    "logger=csv", "split=predefined", "head=locate", "head.width=8",
)  # fmt: skip


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    return create_backbone("test_resnet", pretrained=False, download=False, num_classes=2, image_size=32).eval()


def make_classifier(backbone, **settings):
    torch.manual_seed(0)
    head = Locate(backbone, kinds=("opening", "canal"), pixel_mm=1.0, **LOCATE | settings)
    given = dict.fromkeys(("learning", "optimizer", "schedule"))
    return FistulaClassifier(backbone, num_classes=2, loss=torch.nn.CrossEntropyLoss(), head=head, **given).eval()


def test_a_score_rises_with_its_map_and_with_nothing_else(backbone):
    classifier = make_classifier(backbone)
    image = torch.randint(0, 256, (6, 1, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        classifier.head.out.weight.mul_(50)  # a map that is not flat
        probabilities, maps = found(classifier, image)
        from_map = (maps[:, 0].flatten(1).exp().mean(dim=1).log() + classifier.head.shift).sigmoid()
    assert maps.shape == (6, 2, 8, 8)
    torch.testing.assert_close(probabilities[:, 1], from_map)
    assert probabilities[:, 1].std() > 0


@pytest.mark.parametrize("joint", [True, False])
def test_a_slice_is_a_bag_of_one(backbone, joint):
    classifier = make_classifier(backbone, joint=joint)
    image = torch.randint(0, 256, (3, 1, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        features, _ = features_of(classifier, image)
        bags, weights, alone = pool(classifier, features, [2, 1], torch.zeros(3))
        torch.testing.assert_close(alone, found(classifier, image)[0])
    torch.testing.assert_close(bags[1], alone[2])
    assert weights.tolist() == [0.5, 0.5, 1.0]


def test_as_many_slices_of_one_map_score_as_one(backbone):
    classifier = make_classifier(backbone)
    image = torch.randint(0, 256, (1, 1, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        features, _ = features_of(classifier, image.expand(5, -1, -1, -1))
        bags, _, alone = pool(classifier, features, [5], torch.zeros(5))
    torch.testing.assert_close(bags[0], alone[0])


def test_marks_are_in_the_pixels_of_the_image():
    maps = torch.full((1, 2, 8, 8), -6.0)
    maps[0, 0, 3, 5] = 2.0  # of an image of 32 pixels: the middle of rows 12 to 15, of columns 20 to 23
    marks = marks_of(maps, size=32)
    assert marks[0, 0, :2].tolist() == pytest.approx([13.5, 21.5])
    assert marks[0, 1].isnan().tolist() == [True, True, False]
    assert marks[0, 1, 2] == 0


def test_the_map_that_a_score_is_made_of_shows_where_the_classifier_looked(backbone):
    classifier = make_classifier(backbone)
    images = torch.randint(0, 256, (3, 1, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        classifier.head.out.weight.mul_(50)
        marks = marks_of(found(classifier, images)[1], size=32)
    shown = saliency(classifier, images, target=1)
    assert shown.shape == (3, 32, 32)
    assert shown.max(axis=(1, 2)).tolist() == [1, 1, 1]
    for one, mark in zip(shown, marks[:, 0], strict=True):
        assert np.hypot(*(np.array(np.unravel_index(one.argmax(), one.shape)) - mark[:2].numpy())) < 4  # a pixel of it
    assert not saliency(classifier, images, target=0).any()
    assert not np.allclose(shown, saliency(classifier, images, target=1, method="grad_cam"))


def test_a_classifier_without_a_map_cannot_show_it(backbone):
    given = dict.fromkeys(("learning", "optimizer", "schedule"))
    plain = FistulaClassifier(backbone, num_classes=2, loss=torch.nn.CrossEntropyLoss(), **given).eval()
    with pytest.raises(ConfigError, match="method: must be another than map for a run that draws none"):
        saliency(plain, torch.zeros(1, 1, 32, 32, dtype=torch.uint8), target=1, method="map")


def test_the_width_is_in_mm(backbone):
    # 32 pixels of 0.5 mm on a map of 8: 2 mm a pixel.
    assert Locate(backbone, kinds=("opening",), pixel_mm=0.5, **LOCATE).sigma == 1.0
    assert Locate(backbone, kinds=("opening",), pixel_mm=None, **LOCATE).sigma == pytest.approx(0.03 * 8)


@pytest.mark.parametrize(
    "transform",
    [
        albumentations.Affine(translate_px={"x": (5, 5), "y": (-3, -3)}, p=1),
        albumentations.Affine(rotate=(30, 30), scale=(1.2, 1.2), p=1),
        albumentations.HorizontalFlip(p=1),
        albumentations.SomeOf([albumentations.Affine(shear=(9, 9), p=1), albumentations.VerticalFlip(p=1)], n=2, p=1),
    ],
    ids=["shift", "turn", "mirror", "some_of"],
)  # fmt: skip
def test_points_move_with_the_image(transform):
    rows, columns = np.mgrid[:64, :64]
    image = np.rint(255 * np.exp(-((rows - 24.0) ** 2 + (columns - 37.0) ** 2) / 18)).astype(np.uint8)
    drawn = draw(following(Pipeline([transform])), image, seed=(3,), keypoints=np.array([[37.0, 24.0]]))
    weight = drawn["image"].astype(float)
    seen = (weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()
    assert drawn["keypoints"][0] == pytest.approx(seen, abs=0.3)
    assert np.hypot(seen[0] - 37, seen[1] - 24) > 1


def test_what_mirrors_is_refused_in_whatever_it_is_contained():
    nested = albumentations.Compose([albumentations.OneOf([albumentations.D4(p=1), albumentations.GaussianBlur(p=1)])])
    with pytest.raises(ConfigError, match=r"augmentation: must not mirror, because it says 3 o'clock, found D4"):
        refuse_mirrors(nested, "it says 3 o'clock", has_sides=False)
    turned = albumentations.Affine(rotate=(-180, 180))
    harmless = [albumentations.HorizontalFlip(p=0), turned, albumentations.Rotate((-60, 60))]
    refuse_mirrors(albumentations.Compose(harmless), "", has_sides=False)
    with pytest.raises(
        ConfigError, match="augmentation: must not bring left to right, because it is left, found Affine"
    ):
        refuse_mirrors(albumentations.Compose(harmless), "it is left", has_sides=True)
    refuse_mirrors(albumentations.Compose([*harmless[::2]]), "it is left", has_sides=True)


def test_a_side_is_in_the_names_of_classes_or_in_a_clock():
    assert side_of_labels(["none", "left tract"], ()) == "a class names a side"
    assert side_of_labels(["normal", "fistula"], ("opening",)) == ""
    assert side_of_labels(["normal", "fistula"], ("opening", "canal")) == "the cohort has a clock position"


def test_points_are_those_of_the_network_and_none_of_a_negative_slice(tmp_path):
    cohort = read_cohort(write_places(tmp_path / "cohort", size=64))
    manifest = cohort.manifest
    points = points_of(cohort, kinds_of(manifest), image_size=32)
    positive = (manifest["label"] == 1).to_numpy()
    wanted = (manifest["opening_row"].to_numpy()[positive] + 0.5) / 2 - 0.5
    np.testing.assert_allclose(points[positive, 0, 0], wanted, rtol=1e-6)
    assert np.isnan(points[~positive, 0]).all()
    assert points[0, 1].tolist() == [15.75, 15.75]


@pytest.mark.parametrize(
    ("cohort", "overrides", "message"),
    [
        ({"classes": ("0", "1", "2")}, (), r"head=locate: is for two classes"),
        ({}, ("augmentation=geometric",), r"must not mirror, because the cohort has a clock position"),
        (
            {},
            (
                *("split=image_holdout", "split.expand_before_split=2", "audit=warn"),
                "augmentation=color_jitter_expanded",
                "augmentation.transforms=[{_target_: albumentations.HorizontalFlip}]",
            ),
            r"augmentation: must not mirror, because the cohort has a clock position, found HorizontalFlip",
        ),
        (
            {"classes": ("right", "left")},
            ("augmentation=geometric",),
            r"augmentation: must not mirror, because a class names a side, found HorizontalFlip",
        ),
        ({}, ("split=image_holdout", "head.width=2"), r"head.width: must be at least 4"),
    ],
    ids=["classes", "mirror", "mirrored copies", "mirrored side", "width"],
)
def test_what_cannot_be_is_refused_before_training(tmp_path, compose_train, cohort, overrides, message):
    folder = write_places(tmp_path / "cohort", **cohort)
    with pytest.raises(ConfigError, match=message):
        Planner().plan(compose_train(*RUN, *overrides, cohort=folder))


def test_a_cohort_without_points_is_refused(tmp_path, compose_train):
    with pytest.raises(ConfigError, match=r"head=locate: needs points, and no slice of the cohort has one"):
        Planner().plan(compose_train(*RUN, cohort=write_cohort(tmp_path / "cohort")))


def test_mirrors_are_refused_for_a_clock_alone(tmp_path, compose_train):
    without, with_clock = (write_places(tmp_path / f"cohort{canal}", canal=canal) for canal in (False, True))
    plan = Planner().plan(compose_train(*RUN, "augmentation=geometric", cohort=without))
    assert any(key.startswith("head.") for key in plan.folder.identity)  # it locates, and was planned all the same
    with pytest.raises(ConfigError, match="must not mirror, because the cohort has a clock position"):
        Planner().plan(compose_train(*RUN, "augmentation=geometric", cohort=with_clock))


def test_the_identity_of_a_run_has_a_head_only_where_it_locates(tmp_path, compose_train):
    folder = write_places(tmp_path / "cohort")
    plans = [Planner().plan(compose_train(*RUN, f"head={head}", cohort=folder)) for head in ("locate",)]
    plans.append(Planner().plan(compose_train(*RUN[:-2], cohort=folder)))
    has_head = [any(key.startswith("head") for key in plan.folder.identity) for plan in plans]
    assert has_head == [True, False]


@pytest.mark.parametrize(
    "overrides",
    [(), ("learning=linear_probe", "model.pretrained=false", "ema=0.9"), ("unit=patient", "pooling=attention")],
    ids=["end_to_end", "linear_probe", "patients"],
)
def test_a_run_writes_where_the_opening_is(tmp_path, compose_train, overrides):
    from fistula.learning.experiment import build

    folder = write_places(tmp_path / "cohort", patients=20, slices=2)
    cfg = compose_train(*RUN, "epochs=2", *overrides, cohort=folder)
    plan = Planner().plan(cfg)
    plan.folder.path.mkdir()
    experiment = build(cfg, plan.cohort, plan.table)
    before = [value.clone() for value in experiment.classifier.head.parameters()]
    experiment.train(description={})
    assert all((now != then).any() for now, then in zip(experiment.classifier.head.parameters(), before, strict=True))
    places = pl.read_parquet(plan.folder.path / "places.parquet")
    assert places.columns == [
        "slice_key", "copy", "patient_key", "fold", "part", "kind", "row", "col", "peak", "row_true", "col_true",
        "mm_per_pixel",
    ]  # fmt: skip
    assert places.group_by("kind").len().sort("kind").rows() == [("canal", 16), ("opening", 16)]
    assert places["mm_per_pixel"].unique().to_list() == [0.5]
    truth = plan.cohort.manifest.select("slice_key", "opening_row")
    both = places.filter(pl.col("kind") == "opening").join(truth, on="slice_key")
    assert both.filter(pl.col("row_true").eq_missing(pl.col("opening_row"))).height == 16


def located(tmp_path, compose_train, *, change=lambda manifest: manifest):
    """Train on spots whose places in the table are changed beforehand, and the points of the test slices."""
    from fistula.learning.experiment import build

    folder = write_places(tmp_path / "cohort", patients=60, slices=4, size=32)
    manifest = change(pl.read_parquet(folder / "manifest.parquet"))
    manifest.write_parquet(folder / "manifest.parquet")
    record = json.loads((folder / "ingest.json").read_text())
    (folder / "ingest.json").write_text(json.dumps(record | {"fingerprint": manifest_fingerprint(manifest)}))
    training = ("epochs=30", "optimizer.lr=0.003", "checkpoint.monitor=epoch", f"output_dir={tmp_path / 'run'}")
    cfg = compose_train(*RUN, *training, cohort=folder)
    plan = Planner().plan(cfg)
    plan.folder.path.mkdir()
    experiment = build(cfg, plan.cohort, plan.table)
    experiment.train(description={})
    return experiment, pl.read_parquet(plan.folder.path / "places.parquet").filter(pl.col("part") == "test")


def off(places, kind="opening"):
    """Rows and columns by which points lie below and right of the true ones, ``(N, 2)``."""
    known = places.filter((pl.col("kind") == kind) & pl.col("row_true").is_not_null())
    return known.select("row", "col").to_numpy() - known.select("row_true", "col_true").to_numpy()


@pytest.mark.slow
def test_it_learns_where_the_spot_is_and_random_weights_forget_it(tmp_path, compose_train):
    experiment, places = located(tmp_path, compose_train)
    assert np.median(np.hypot(*off(places).T)) < 1.5  # of 32 pixels
    assert np.median(np.hypot(*off(places, "canal").T)) < 2
    _, _, random = score_parts(randomised(experiment.classifier, seed=1), experiment.data, fold=0)
    assert np.median(np.hypot(*off(random.filter(pl.col("part") == "test")).T)) > 6


@pytest.mark.slow
def test_places_taught_away_from_the_spot_are_found_there_and_shuffled_ones_nowhere(tmp_path, compose_train):
    def moved(manifest):
        return manifest.with_columns(pl.col("opening_row") + 4, pl.col("opening_col") - 4)

    def shuffled(manifest):
        marked = pl.col("opening_row").is_not_null()
        order = np.random.default_rng(0).permutation(manifest.filter(marked).height)
        given = manifest.filter(marked).select("opening_row", "opening_col")[order.tolist()]
        chosen = manifest.filter(marked).with_columns(given)
        return manifest.select("slice_key").join(
            pl.concat([chosen, manifest.filter(~marked)]), on="slice_key", maintain_order="left"
        ).select(manifest.columns)  # fmt: skip

    _, places = located(tmp_path / "moved", compose_train, change=moved)
    assert np.median(np.hypot(*off(places).T)) < 1.5
    _, places = located(tmp_path / "shuffled", compose_train, change=shuffled)
    assert np.median(np.hypot(*off(places).T)) > 6
