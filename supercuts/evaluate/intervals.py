"""Confidence intervals over the images of a dataset, by the bootstrap.

In   what each of I images contributes, and the function that makes figures of it
Out  the interval of each figure
Not  no scores, no knowledge of what the figures mean
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

_Score = TypeVar("_Score")
N_RESAMPLES = 1000


def bootstrap_95(
    summarise: Callable[[Sequence[_Score]], Mapping[str, float]],
    scores: Sequence[_Score],
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Return the 2.5 and 97.5 percentiles of each figure when the images are drawn again and again with replacement.

    Percentile bootstrap (Efron, 1979). The figures are computed anew for each draw, so a best threshold may move. Of
    one image there is no interval: NaN.

    >>> low, high = bootstrap_95(lambda xs: {"mean": sum(xs) / len(xs)}, [1.0, 2.0, 3.0])["mean"]
    >>> 1 <= low < 2 < high <= 3
    True
    """
    if len(scores) < 2:
        return dict.fromkeys(summarise(scores), (float("nan"), float("nan")))
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(scores), size=(n_resamples, len(scores)))
    figures = [summarise([scores[i] for i in draw]) for draw in draws]
    values = np.array([list(one.values()) for one in figures])
    low, high = np.percentile(values, [2.5, 97.5], axis=0)
    return {name: (float(low[i]), float(high[i])) for i, name in enumerate(figures[0])}
