"""Statistics as pure functions on arrays. NumPy and SciPy only.

What many functions are given is the same in all of them, and is described again only where it is not:

    labels: 0 or 1, ``(N,)``, a row a slice or a patient.
    scores: Finite, ``(N,)``; where they are probabilities, in [0, 1].
    patients: Whom each row is of, ``(N,)``; intervals take patients as independent, and rows of one as alike.
    runs: Which network scored each row, a fold and a seed, ``(N,)``: scores are compared within a run only; left out,
        one did all.
    level: Of the interval.
    resamples, seed: How often patients are drawn, and of the generator that draws them.

A label that is not 0 or 1, a score that is not finite or not in its range, and unequal lengths raise ValueError.
"""
