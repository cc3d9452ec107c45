import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy.stats import norm

from fistula.evidence.design.compare import clustered_auroc_test
from fistula.evidence.design.factors import main_effects, seed_and_patient_spread
from fistula.evidence.ranking.placements import place

PAPER = {
    "model": ["resnet18"] * 4 + ["resnet34"] * 2 + ["densenet121"] * 2,
    "learning": ["transfer", "transfer", "transfer", "end_to_end", "transfer", "end_to_end", "transfer", "end_to_end"],
    "epochs": ["50", "100", "50", "50", "50", "50", "50", "50"],
    "augmentation": ["no", "no", "yes", "no", "no", "no", "no", "no"],
}


@pytest.fixture
def make_runs(make_cohort):
    """A function that places runs, each the first model's logit with its own noise."""

    def make(runs, *, noise=0.7, cohort=None):
        cohort = cohort or make_cohort(5, patients=(30, 25))
        random = np.random.default_rng(1)
        scores = cohort.first[:, None] + noise * random.normal(size=(len(cohort.first), runs))
        return cohort, scores, place(cohort.labels, scores, cohort.patients)

    return make


def test_main_effects_of_the_papers_design_are_those_of_least_squares(make_runs):
    _, _, placements = make_runs(8)
    table = pd.DataFrame({**PAPER, "auroc": placements.aurocs})
    fitted = smf.ols(
        "auroc ~ C(model, Treatment('resnet18')) + C(learning, Treatment('transfer')) "
        "+ C(epochs, Treatment('50')) + C(augmentation, Treatment('no'))",
        data=table,
    ).fit()
    effects = main_effects(PAPER, placements)
    assert [(effect.factor, effect.level, effect.reference) for effect in effects] == [
        ("model", "resnet34", "resnet18"),
        ("model", "densenet121", "resnet18"),
        ("learning", "end_to_end", "transfer"),
        ("epochs", "100", "50"),
        ("augmentation", "yes", "no"),
    ]
    expected = {name.split("[T.")[1].rstrip("]"): value for name, value in fitted.params.items() if "[T." in name}
    found = {effect.level: effect.difference.value for effect in effects}
    assert found == pytest.approx(expected)


def test_the_effect_of_a_design_of_two_runs_is_their_paired_comparison(make_runs):
    cohort, scores, placements = make_runs(2)
    (effect,) = main_effects({"model": ["a", "b"]}, placements)
    expected = clustered_auroc_test(cohort.labels, scores[:, 1], scores[:, 0], cohort.patients).difference
    found = effect.difference
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))


def test_an_effect_in_a_balanced_design_is_the_mean_of_its_pairs(make_runs):
    _, _, placements = make_runs(4)
    model, learning = main_effects({"model": ["a", "a", "b", "b"], "learning": ["x", "y", "x", "y"]}, placements)
    one, two, three, four = placements.aurocs
    assert model.difference.value == pytest.approx((three + four - one - two) / 2)
    assert learning.difference.value == pytest.approx((two + four - one - three) / 2)
    expected = placements.contrast([-0.5, -0.5, 0.5, 0.5])[1]
    half = (model.difference.high - model.difference.low) / 2
    # Two effects: each at 97.5%, so that both hold with 95% confidence.
    assert half == pytest.approx(norm.ppf(0.9875) * expected, rel=0.06)
    assert half > norm.ppf(0.9875) * expected
    assert model.difference.method == "least squares over runs, delete-one-patient jackknife, t, 97.5%"


def test_confounded_factors_have_no_effect_of_their_own(make_runs):
    _, _, placements = make_runs(4)
    factors = {"model": ["a", "a", "b", "b"], "epochs": ["50", "50", "100", "100"], "learning": ["x", "y", "x", "y"]}
    model, epochs, learning = main_effects(factors, placements)
    assert str(model.difference) == str(epochs.difference) == "n/a: confounded with another factor in this design"
    assert learning.difference.has_interval


def test_a_factor_of_one_level_has_no_effect_and_a_short_one_is_refused(make_runs):
    _, _, placements = make_runs(2)
    assert main_effects({"model": ["a", "a"]}, placements) == []
    with pytest.raises(ValueError, match="factor model must have a level for each of the 2 runs, got 3"):
        main_effects({"model": ["a", "b", "c"]}, placements)


def test_runs_that_rank_alike_have_an_effect_without_interval(make_cohort):
    cohort = make_cohort(0)
    placements = place(cohort.labels, np.stack([cohort.first] * 2, axis=1), cohort.patients)
    (effect,) = main_effects({"model": ["a", "b"]}, placements)
    assert str(effect.difference) == "0.000 (n/a: the difference does not vary)"


def test_no_effect_is_said_to_reach_beyond_1():
    """Two patients of each class: with so few degrees of freedom an interval would be several AUROCs wide."""
    scores = np.array([[1.0, 2.0, 3.0, 0.0], [3.0, 1.0, 0.0, 2.0]]).T
    (effect,) = main_effects({"model": ["a", "b"]}, place([0, 0, 1, 1], scores, range(4)))
    assert (effect.difference.low, effect.difference.high) == (-1, 1)


def test_effects_of_one_class_are_undefined():
    placements = place([1, 1], [[0.1, 0.2], [0.3, 0.4]], ["a", "b"])
    (effect,) = main_effects({"model": ["a", "b"]}, placements)
    assert str(effect.difference) == "n/a: no negatives"
    spread = seed_and_patient_spread(placements)
    assert (str(spread.seed), str(spread.patients)) == ("n/a: no negatives", "n/a: no negatives")


def test_the_spread_of_seeds_stands_apart_from_that_of_patients(make_runs):
    _, _, placements = make_runs(6, noise=0.02)
    _, _, noisy = make_runs(6, noise=1.0)
    calm, wild = seed_and_patient_spread(placements), seed_and_patient_spread(noisy)
    assert calm.seed.value == pytest.approx(np.std(placements.aurocs, ddof=1))
    assert calm.seed.value < 0.2 * calm.patients.value
    assert wild.seed.value > 3 * calm.seed.value
    assert calm.patients.value == pytest.approx(np.sqrt(np.diag(placements.covariance()).mean()))


def test_the_interval_of_the_seeds_deviation_is_that_of_chi_square(make_runs):
    _, _, placements = make_runs(6)
    found = seed_and_patient_spread(placements).seed
    # Quantiles of chi-square with 5 degrees of freedom, from a table: 0.8312 and 12.8325.
    assert found.low == pytest.approx(found.value * np.sqrt(5 / 12.8325), rel=1e-4)
    assert found.high == pytest.approx(found.value * np.sqrt(5 / 0.8312), rel=1e-4)


def test_one_seed_has_no_spread(make_runs):
    _, _, placements = make_runs(1)
    assert str(seed_and_patient_spread(placements).seed) == "n/a: only one seed"
