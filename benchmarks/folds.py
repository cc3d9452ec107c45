"""What cross-validation adds to the errors of its AUROCs: `python benchmarks/folds.py`.

The networks of two folds are trained on each other's test patients, so the folds are not independent, and intervals of
the scores as they are do not see it. Here networks are trained in each simulated study: one takes the difference of the
classes' means, another (`nearest`) the sum over training slices of their labels, those that are close counting most.
"""

import argparse
from itertools import product
from math import exp, sqrt

import numpy as np
from readers import CASES, simulate
from scipy.special import expit, ndtr, ndtri

from fistula.evidence.design.compare import clustered_auroc_test
from fistula.evidence.probability.calibration import fit_platt
from fistula.evidence.ranking.area import clustered_auroc
from fistula.evidence.readers.analysis import compare_model
from fistula.evidence.readers.merit import model_figure

TWICE = 1 - 2 * ndtr(-sqrt(2) * ndtri(0.975))  # level at which a normal interval has twice the variance of a 95% CI
# The same, of the variance by which Nadeau and Bengio (2003), Mach Learn 52(3), 239-281, correct that of five folds.
CORRECTED = 1 - 2 * ndtr(-sqrt(1 + 5 * 1 / 4) * ndtri(0.975))
SLICES = 4  # a patient, of negative controls
TOLD = 5  # features that differ between the classes, of all where there are more


def learn(images, labels, fold, patients, nearest=False):
    """Score images by networks trained on the other folds, `labels` and `fold` being of patients."""
    scores = np.empty(len(images))
    for number in np.unique(fold):
        test = fold[patients] == number
        trained, truth = images[~test], labels[patients[~test]]
        sign = np.where(truth, 1 / truth.sum(), -1 / (~truth).sum())
        if nearest:
            apart = (images[test] ** 2).sum(1)[:, None] + (trained**2).sum(1) - 2 * images[test] @ trained.T
            scores[test] = np.exp(-apart / (images.shape[1] / 2)) @ sign
        else:
            scores[test] = images[test] @ (sign @ trained)
    return scores


def permuted(random, repetitions):
    """How often a negative control is above 0.5 by chance: its 95% CI, and with twice the variance."""
    kinds = product(
        ((1, False), (20, False), (300, False), (20, True)), ((30, 5, 15), (72, 2, 36), (103, 5, 20), (300, 5, 150))
    )
    shares = []
    for (features, nearest), (count, folds, positives) in kinds:
        above, labels, patients = np.zeros(4), np.arange(count) < positives, np.repeat(np.arange(count), SLICES)
        for _ in range(repetitions):
            fold = random.permutation(count) % folds
            images = random.normal(size=(count, features))[patients] + random.normal(size=(len(patients), features))
            scores = learn(images, labels, fold, patients, nearest)
            per_slice = labels[patients], scores, patients, fold[patients]
            per_patient = labels, scores.reshape(-1, SLICES).mean(axis=1), np.arange(count), fold
            rows = product((per_slice, per_patient), (0.95, TWICE))
            above += [clustered_auroc(*of, level=level).low > 0.5 for of, level in rows]
        shares.append(above.reshape(2, 2) / repetitions)
        network = "nearest" if nearest else "means"
        print(
            f"{count} patients, {positives} positive, {folds} folds, {features} features, {network}:",
            shares[-1].tolist(),
            flush=True,
        )
    for name, of in zip(("its 95% CI", "twice the variance"), np.moveaxis(np.array(shares), 2, 0), strict=True):
        print(f"negative control above 0.5 by chance: {name}, {say(of)}", flush=True)


def trained(random, repetitions):
    """Coverage of the AUROC that such networks have on average, and how often two equal configurations differ."""
    for count in (72, 103, 300):
        shares = []
        for features, apart in product((5, 50, 300), (1.0, 2.0)):
            labels, patients = np.arange(count) < count // 2, np.arange(count)
            away = np.where(np.arange(features) < TOLD, apart / sqrt(TOLD), 0)
            truths, ends, rejected = [], [], []
            for _ in range(repetitions):
                fold = np.concatenate([random.permutation(half) % 5 for half in (count // 2, count - count // 2)])
                scores = []
                for _ in range(2):
                    images = random.normal(size=(count, features)) + labels[:, None] * away
                    scores.append(learn(images, labels, fold, patients))
                for number in range(5):
                    test, rest = fold == number, fold != number
                    lean = images[rest & labels].mean(axis=0) - images[rest & ~labels].mean(axis=0)
                    share = (test & labels).sum() * (test & ~labels).sum()
                    truths.append((ndtr(lean @ away / np.linalg.norm(lean) / sqrt(2)), share))
                levels = (0.95, CORRECTED)
                found = [clustered_auroc(labels, scores[0], patients, fold, level=level) for level in levels]
                ends.append([(one.low, one.high) for one in found])
                tests = [clustered_auroc_test(labels, *scores, patients, fold, level=level) for level in levels]
                rejected.append([not one.difference.low <= 0 <= one.difference.high for one in tests])
            truth = np.average(*np.transpose(truths)[:1], weights=np.transpose(truths)[1])
            low, high = np.moveaxis(np.array(ends), 2, 0)
            shares.append([*np.mean((low <= truth) & (truth <= high), axis=0), *np.mean(rejected, axis=0)])
            print(
                f"{count} patients, {features} features, AUROC {truth:.2f}:",
                np.round(shares[-1], 3).tolist(),
                flush=True,
            )
        covered, wide, alone, corrected = np.transpose(shares)
        print(f"{count} patients: 95% CI covers in {say(covered)}, corrected in {say(wide)}; equal configurations "
              f"differ significantly in {say(alone)}, corrected in {say(corrected)}", flush=True)  # fmt: skip


def read(random, repetitions):
    """A model of five folds less five readers: all patients ranked by calibrated scores, or within networks.

    Each network has a level and a spread of its own, and is calibrated on a fifth of the other patients; where one
    calibration reverses the order, scores stay as they are.
    """
    for count in (40, 100, 300):
        held = ([], [])
        for auroc in (0.702, 0.855, 0.962):
            found = ([], [])
            shift, spread = sqrt(2) * ndtri(auroc), 0.0055
            truth = auroc - ndtr(shift / sqrt(2 + 4 * spread))
            for _ in range(repetitions):
                labels, ratings, scores = simulate(random, auroc, spread, CASES["low"], 5, (count // 2, count // 2))
                fold = np.concatenate([random.permutation(count // 2) % 5 for _ in range(2)])
                calibrated, raw, fits = np.empty(count), np.empty(count), []
                for number in range(5):
                    level, width = random.normal(), exp(0.3 * random.normal())
                    known = np.arange(max(6, count * 4 // 25)) % 2
                    seen = random.normal(size=len(known)) + shift * known
                    own, given = (level + width * (one - shift / 2) for one in (scores[fold == number], seen))
                    fits.append(fit_platt(known, expit(given)))
                    raw[fold == number] = expit(own)
                    calibrated[fold == number] = fits[-1].apply(expit(own))
                if any(fit.slope <= 0 for fit in fits):
                    calibrated = raw
                tests = (
                    compare_model(labels, calibrated, ratings[0]),
                    compare_model(labels, calibrated, ratings[0], figure=model_figure(fold)),
                )
                for each, test in zip(found, tests, strict=True):
                    each.append((test.estimate.value - truth, test.estimate.low <= truth <= test.estimate.high))
            for kinds, each in zip(held, found, strict=True):
                kinds.append(np.mean(each, axis=0))
        for name, kinds in zip(("all patients, calibrated", "within networks"), held, strict=True):
            bias, covered = np.transpose(kinds)
            ends = f"{bias.mean():+.3f} ({bias.min():+.3f} to {bias.max():+.3f})"
            print(f"model less readers, {count} patients, {name}: bias {ends}, covers in {say(covered)}", flush=True)


def say(shares):
    """Mean, lowest and highest."""
    return f"{np.mean(shares):.1%} ({np.min(shares):.1%} to {np.max(shares):.1%})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=1000)
    repetitions = parser.parse_args().repetitions
    permuted(np.random.default_rng(4), repetitions)
    trained(np.random.default_rng(5), repetitions)
    read(np.random.default_rng(6), repetitions)


if __name__ == "__main__":
    main()
