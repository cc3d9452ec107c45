"""A second judge: Dorfman, Berbaum and Metz's way to the same tests, an analysis of variance of pseudovalues.

With the jackknife's covariances, and Hillis' error term and degrees of freedom, it is Obuchowski and Rockette's
analysis (Hillis et al. 2005, Stat Med 24(10), 1579-1607). It shares no line with the package: areas are counted pair by
pair.
"""

import numpy as np
import pytest
from scipy import stats

from fistula.evidence.readers.analysis import compare_modalities, compare_model, mean_of_readers, study_readers
from fistula.evidence.readers.merit import share_figure

from .test_readers import read_study


def area(labels, ratings):
    above = np.sign(ratings[labels == 1][:, None] - ratings[labels == 0])
    return (above.mean() + 1) / 2


def right_of_positives(labels, ratings):
    return ratings[labels == 1].mean()


def pseudovalues(labels, ratings, figure):
    """``(M, R, C)``: of C cases, C times the figure less C - 1 times that without each."""
    number = len(labels)
    found = np.empty(ratings.shape)
    for place in np.ndindex(ratings.shape[:2]):
        without = [figure(np.delete(labels, case), np.delete(ratings[place], case)) for case in range(number)]
        found[place] = number * figure(labels, ratings[place]) - (number - 1) * np.array(without)
    return found


def mean_squares(values):
    """Of every effect and interaction of a table with one value a cell, by the axes that it is of."""
    squares = {}
    for axes in [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]:
        axes = tuple(axis for axis in axes if axis < values.ndim)
        effect = values
        for axis in range(values.ndim):
            mean = effect.mean(axis=axis, keepdims=True)
            effect = effect - mean if axis in axes else mean
        repeated = values.size / effect.size
        degrees = np.prod([values.shape[axis] - 1 for axis in axes])
        squares[axes] = repeated * float((effect**2).sum()) / degrees
    return squares


def two_way(values):
    """Mean, standard error and degrees of freedom over readers (axis 0) and cases, both random."""
    squares, (readers, cases) = mean_squares(values), values.shape
    error = squares[0,] + max(squares[1,] - squares[0, 1], 0.0)
    return values.mean(), (error / (readers * cases)) ** 0.5, (error / squares[0,]) ** 2 * (readers - 1)


@pytest.mark.parametrize("name", ["vandyke", "franken"])
@pytest.mark.parametrize("of", ["area", "sensitivity"])
def test_random_readers_are_compared_as_by_an_analysis_of_pseudovalues(name, of):
    labels, ratings = read_study(name)
    if of == "area":
        study, values = study_readers(labels, ratings), pseudovalues(labels, ratings, area)
    else:
        calls = (ratings >= 3).astype(float)
        study = study_readers(labels, calls, share_figure(of_positives=True))
        values = pseudovalues(labels[labels == 1], calls[:, :, labels == 1], right_of_positives)
    squares, (_, readers, cases) = mean_squares(values), values.shape
    error = squares[0, 1] + max(squares[0, 2] - squares[0, 1, 2], 0.0)
    degrees = (error / squares[0, 1]) ** 2 * (readers - 1)
    test = compare_modalities(study, 0, 1)
    assert test.estimate.value == pytest.approx(values[0].mean() - values[1].mean())
    assert test.standard_error == pytest.approx((2 * error / (readers * cases)) ** 0.5)
    assert test.degrees == pytest.approx(degrees)
    assert test.p_value == pytest.approx(stats.f.sf(squares[0,] / error, 1, degrees))
    for modality in (0, 1):
        one = mean_of_readers(study, modality)
        assert (one.estimate.value, one.standard_error, one.degrees) == pytest.approx(two_way(values[modality]))


def test_fixed_readers_are_compared_as_by_an_analysis_of_pseudovalues():
    labels, ratings = read_study("vandyke")
    squares = mean_squares(pseudovalues(labels, ratings, area))
    test = compare_modalities(study_readers(labels, ratings), 0, 1, readers="fixed")
    assert test.statistic**2 == pytest.approx(squares[0,] / squares[0, 2])


def test_a_model_is_compared_as_by_pseudovalues_of_each_readers_difference():
    labels, ratings = read_study("vandyke")
    scores = ratings[1].mean(axis=0) + np.random.default_rng(0).normal(0, 0.5, len(labels))
    values = pseudovalues(labels, ratings[:1], area)[0]
    model = pseudovalues(labels, scores[None, None], area)[0]
    test = compare_model(labels, scores, ratings[0])
    assert (test.estimate.value, test.standard_error, test.degrees) == pytest.approx(two_way(model - values))
