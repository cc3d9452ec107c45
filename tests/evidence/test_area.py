import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import binomtest, norm
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from fistula.evidence.ranking.area import clustered_auroc, delong, hanley_mcneil_variance, newcombe_interval
from fistula.evidence.ranking.placements import place
from fistula.evidence.ranking.roc import auroc
from fistula.evidence.resample import draw_weights
from fistula.evidence.weighted import STATISTICS, gather


def obuchowski_1997(labels, scores, patients):
    """Variance written out as in the paper, one comparison at a time."""
    wins = [[(x > y) + 0.5 * (x == y) for y in scores[labels == 0]] for x in scores[labels == 1]]
    of_positive, of_negative = np.mean(wins, axis=1), np.mean(wins, axis=0)
    abnormal, normal, area = len(of_positive), len(of_negative), np.mean(wins)
    s10 = s01 = s11 = i10 = i01 = 0
    everyone = sorted(set(patients))
    for patient in everyone:
        x = of_positive[patients[labels == 1] == patient]
        y = of_negative[patients[labels == 0] == patient]
        i10, i01 = i10 + (len(x) > 0), i01 + (len(y) > 0)
        s10 += (x.sum() - len(x) * area) ** 2
        s01 += (y.sum() - len(y) * area) ** 2
        s11 += (x.sum() - len(x) * area) * (y.sum() - len(y) * area)
    s10 *= i10 / ((i10 - 1) * abnormal)
    s01 *= i01 / ((i01 - 1) * normal)
    s11 *= len(everyone) / (len(everyone) - 1)
    return s10 / abnormal + s01 / normal + 2 * s11 / (abnormal * normal)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("mixed", [0, 4], ids=["patients of one class", "patients of both classes"])
def test_the_clustered_variance_is_obuchowskis(make_cohort, seed, mixed):
    cohort = make_cohort(seed, mixed=mixed)
    found = place(cohort.labels, cohort.first, cohort.patients).obuchowski()
    expected = obuchowski_1997(cohort.labels, cohort.first, cohort.patients)
    assert found.shape == (1, 1)
    assert found[0, 0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("model", ["first", "second"])
def test_delong_matches_stored_values_of_r(reference, model):
    rows, values = reference
    estimate = delong(rows.labels, getattr(rows, model))
    assert estimate.value == pytest.approx(values[f"auroc_{model}"], abs=1e-14)
    assert estimate.low == pytest.approx(values[f"low_{model}"], abs=1e-12)
    assert estimate.high == pytest.approx(values[f"high_{model}"], abs=1e-12)
    assert place(rows.labels, getattr(rows, model)).obuchowski()[0, 0] == pytest.approx(
        values[f"variance_{model}"], rel=1e-12
    )


def test_the_covariance_of_two_models_matches_stored_values_of_r(reference):
    rows, values = reference
    covariance = place(rows.labels, np.stack([rows.first, rows.second], axis=1)).obuchowski()
    expected = [
        [values["variance_first"], values["covariance"]],
        [values["covariance"], values["variance_second"]],
    ]
    np.testing.assert_allclose(covariance, expected, rtol=1e-12)


@pytest.mark.parametrize("mixed", [0, 8], ids=["patients of one class", "patients of both classes"])
def test_the_clustered_variance_agrees_with_resampled_patients(make_cohort, mixed):
    cohort = make_cohort(7, patients=(60, 50), mixed=mixed)
    rows = gather(cohort.labels, cohort.first, cohort.patients, threshold=None, statistics=["auroc"])
    values = STATISTICS["auroc"](rows, draw_weights(rows.strata, resamples=4000, seed=1))
    variance = place(cohort.labels, cohort.first, cohort.patients).covariance()[0, 0]
    assert np.var(values) == pytest.approx(variance, rel=0.1)


def test_copied_slices_do_not_narrow_the_clustered_interval(make_cohort):
    cohort = make_cohort(2)
    once = clustered_auroc(cohort.labels, cohort.first, cohort.patients)
    copied = [np.repeat(part, 5) for part in (cohort.labels, cohort.first, cohort.patients)]
    many = clustered_auroc(*copied)
    assert (many.value, many.low, many.high) == pytest.approx((once.value, once.low, once.high), abs=1e-12)
    naive, naive_once = delong(*copied[:2]), delong(cohort.labels, cohort.first)
    assert naive.high - naive.low < 0.5 * (naive_once.high - naive_once.low)


@pytest.mark.parametrize("mixed", [0, 4], ids=["patients of one class", "patients of both classes"])
def test_the_interval_is_that_of_the_logit_over_patients_left_out(make_cohort, mixed):
    cohort = make_cohort(3, mixed=mixed)
    keys = np.unique(cohort.patients)
    kept = [cohort.patients != key for key in keys]
    logits = logit([roc_auc_score(cohort.labels[rows], cohort.first[rows]) for rows in kept])
    error = np.sqrt((len(keys) - 1) / len(keys) * np.sum((logits - logits.mean()) ** 2))
    placements = place(cohort.labels, cohort.first, cohort.patients)
    estimate = clustered_auroc(cohort.labels, cohort.first, cohort.patients)
    half = student.ppf(0.975, placements.degrees(np.ones(1))) * error
    ends = expit(logit(roc_auc_score(cohort.labels, cohort.first)) + np.array([-half, half]))
    assert (estimate.low, estimate.high) == pytest.approx(tuple(ends), abs=1e-12)


@pytest.mark.parametrize("slices", [1, 10], ids=["one score a patient", "ten slices a patient"])
def test_one_patient_who_makes_all_the_errors_does_not_stretch_the_interval_over_everything(slices):
    patients = np.repeat(np.arange(22), slices)
    labels = patients % 2
    scores = labels + np.linspace(0, 0.5, len(labels))
    scores[patients == 1] -= 2.0
    found = clustered_auroc(labels, scores, patients)
    assert found.value == pytest.approx(10 / 11)
    # As good as what is known of ten of eleven patients: Wilson's 0.62 to 0.98.
    expected = binomtest(10, 11).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_degrees_of_freedom_count_patients_by_kish(make_cohort):
    cohort = make_cohort(3, mixed=0)
    placements = place(cohort.labels, cohort.first, cohort.patients)
    of_positives = 12 / 11 * float(placements.positive[:, 0] @ placements.positive[:, 0])
    of_negatives = 10 / 9 * float(placements.negative[:, 0] @ placements.negative[:, 0])
    sizes = [np.unique(cohort.patients[cohort.labels == label], return_counts=True)[1] for label in (1, 0)]
    effective = [size.sum() ** 2 / (size**2).sum() for size in sizes]
    assert effective[0] < 12
    expected = (of_positives + of_negatives) ** 2 / (
        of_positives**2 / (effective[0] - 1) + of_negatives**2 / (effective[1] - 1)
    )
    assert placements.degrees(np.ones(1)) == pytest.approx(expected)


def test_rows_of_two_networks_are_never_compared(make_cohort):
    cohort = make_cohort(2)
    runs = np.unique(cohort.patients, return_inverse=True)[1] % 3
    parts = [(cohort.labels[runs == run], cohort.first[runs == run]) for run in range(3)]
    pairs = [labels.sum() * (1 - labels).sum() for labels, _ in parts]
    expected = np.average([roc_auc_score(*part) for part in parts], weights=pairs)
    found = clustered_auroc(cohort.labels, cohort.first, cohort.patients, runs)
    assert found.value == pytest.approx(expected)
    # Each network may have a scale of its own: any that keeps the order within a run changes nothing.
    other = clustered_auroc(cohort.labels, np.exp(cohort.first * (1 + runs)) - 5 * runs, cohort.patients, runs)
    assert (other.value, other.low, other.high) == (found.value, found.low, found.high)
    assert found.low < found.value < found.high


def test_a_run_of_one_class_adds_nothing_to_compare():
    labels, scores, patients = [1, 1, 0, 0, 1, 1], [0.9, 0.2, 0.4, 0.1, 0.0, 0.0], list("abcdef")
    whole = clustered_auroc(labels[:4], scores[:4], patients[:4])
    assert clustered_auroc(labels, scores, patients, [0, 0, 0, 0, 1, 1]).value == whole.value == 0.75
    assert (
        str(clustered_auroc([1, 1, 0, 0], scores[:4], list("abcd"), [0, 0, 1, 1])) == "n/a: no run tested both classes"
    )
    alone = clustered_auroc([1, 0, 1, 1], scores[:4], list("abcd"), [0, 0, 1, 1])
    assert str(alone) == "1.000 (n/a: all negatives are of one patient)"
    pairs = clustered_auroc([1, 0, 1, 0, 1], [0.9, 0.1, 0.5, 0.2, 0.3], list("abaca"), [0, 0, 1, 1, 1])
    assert pairs.reason == "all positives are of one patient"


def test_a_contrast_of_models_has_the_variance_of_its_covariance(make_cohort):
    cohort = make_cohort(5)
    scores = np.stack([cohort.first, cohort.second, 1 - cohort.first], axis=1)
    placements = place(cohort.labels, scores, cohort.patients)
    weights = np.array([0.5, -1.0, 0.25])
    value, error, _ = placements.contrast(weights)
    assert value == pytest.approx(weights @ [auroc(cohort.labels, column) for column in scores.T])
    assert error**2 == pytest.approx(weights @ placements.covariance() @ weights)
    # Turned scores vary as the scores do, the other way.
    assert placements.covariance()[0, 2] == pytest.approx(-placements.covariance()[0, 0])


@pytest.mark.parametrize("auroc_value", [0.0, 0.3, 0.5, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("sizes", [(5, 3), (58, 45)])
def test_newcombes_ends_solve_the_score_equation(auroc_value, sizes):
    low, high = newcombe_interval(auroc_value, positives=sizes[0], negatives=sizes[1])
    assert 0 <= low <= auroc_value <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            others = sum(sizes) / 2 - 1
            variance = end * (1 - end) / (sizes[0] * sizes[1])
            variance *= 1 + others * ((1 - end) / (2 - end) + end / (1 + end))
            assert abs(end - auroc_value) / np.sqrt(variance) == pytest.approx(norm.ppf(0.975), rel=1e-6)


def test_hanley_and_mcneils_variance_is_theirs_for_equal_classes():
    area, count = 0.8, 30
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    expected = area * (1 - area) + (count - 1) * (first - area**2) + (count - 1) * (second - area**2)
    assert hanley_mcneil_variance(area, positives=count, negatives=count) == pytest.approx(expected / count**2)


@pytest.mark.parametrize("sizes", [(6, 24), (15, 15), (58, 45)])
@pytest.mark.parametrize("folds", [1, 3])
def test_one_wrong_pair_proves_no_more_than_none(sizes, folds):
    labels, patients = np.repeat([1, 0], sizes), np.arange(sum(sizes))
    runs = np.concatenate([np.arange(size) % folds for size in sizes])
    scores = np.linspace(1, 0, len(labels))
    perfect = clustered_auroc(labels, scores, patients, runs)
    last, first = np.flatnonzero((runs == 0) & (labels == 1))[-1], np.flatnonzero((runs == 0) & (labels == 0))[0]
    scores[[last, first]] = scores[[first, last]]
    nearly = clustered_auroc(labels, scores, patients, runs)
    assert nearly.value < perfect.value
    assert nearly.low <= perfect.low + 1e-9
    mirrored = clustered_auroc(labels, -scores, patients, runs)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((nearly.low, nearly.high), abs=1e-9)


def test_a_perfect_score_still_has_an_interval():
    labels, patients = np.repeat([1, 0], 30), np.repeat(np.arange(12), 5)
    clustered = clustered_auroc(labels, labels, patients)
    naive = delong(labels, labels)
    assert (clustered.value, clustered.high, naive.high) == (1.0, 1.0, 1.0)
    assert clustered.low == newcombe_interval(1.0, positives=6, negatives=6)[0]
    assert clustered.low < naive.low < 1
    assert clustered.method == "Newcombe (2006), patients as sample size, 95%"


@pytest.mark.parametrize(
    ("labels", "scores", "patients", "expected"),
    [
        pytest.param([], [], [], "n/a: no rows", id="empty"),
        pytest.param([0, 0], [0.1, 0.2], ["a", "b"], "n/a: no positives", id="one class"),
        pytest.param(
            [1, 0, 1, 0], [1, 2, 3, 2], ["a"] * 4, "0.500 (n/a: all positives are of one patient)", id="one patient"
        ),
        pytest.param(
            [1, 1, 0, 0],
            [1, 3, 2, 2],
            ["a", "b", "c", "c"],
            "0.500 (n/a: all negatives are of one patient)",
            id="one patient of a class",
        ),
        pytest.param(
            [1, 1, 0, 0],
            [7, 7, 7, 7],
            ["a", "b", "c", "d"],
            "0.500 (n/a: no variability between patients)",
            id="constant scores",
        ),
    ],
)
def test_what_has_no_interval_says_why(labels, scores, patients, expected):
    assert str(clustered_auroc(labels, scores, patients)) == expected


def test_nan_scores_of_any_model_are_refused():
    with pytest.raises(ValueError, match="scores must be finite, got nan at row 1"):
        place([0, 1], [[0.1, 0.2], [0.3, np.nan]])
