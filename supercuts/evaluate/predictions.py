"""What scoring any kind of prediction shares: samples paired with predictions, errors that name the image.

In   Samples and, for each, a prediction or a function that makes one from the image
Out  one (sample, image, prediction) at a time
Not  no scores
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np

from supercuts.core.errors import InputError
from supercuts.datasets.base import Sample
from supercuts.images.io import read_image
from supercuts.metrics.superpixel import check_label_map

_Prediction = TypeVar("_Prediction")


def pair(
    predictions: Callable[[np.ndarray], _Prediction] | Iterable[_Prediction], samples: Sequence[Sample]
) -> Iterator[tuple[Sample, np.ndarray | None, _Prediction]]:
    """Yield each sample with its prediction, and with its image if that had to be read to predict."""
    if len(samples) == 0:
        raise InputError("There are no samples: give a dataset or a list of its samples.")
    if callable(predictions):
        for sample in samples:
            with naming(sample.name):
                image = read_image(sample.image_path)
                prediction = predictions(image)
            yield sample, image, prediction
        return
    n_given = 0
    for prediction in predictions:
        if n_given == len(samples):
            raise InputError(f"There are more predictions than the {n_given} samples: give one for each, in order.")
        yield samples[n_given], None, prediction
        n_given += 1
    if n_given < len(samples):
        raise InputError(f"There are {n_given} predictions for {len(samples)} samples: give one for each, in order.")


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Add the name of the image to whatever error passes."""
    try:
        yield
    except Exception as error:
        error.add_note(f"while scoring image {name}")
        raise


def check_truths(shape: tuple[int, ...], truths: Sequence[np.ndarray]) -> None:
    """Refuse a prediction of that shape without annotators, or with annotations of another image."""
    if len(truths) == 0:
        raise InputError("There are no annotators: give at least one truth segmentation.")
    for truth in truths:
        check_label_map("truth", truth)
        if truth.shape != shape:
            raise InputError(
                f"truth {truth.shape} and prediction {shape} differ in shape: score label maps of one image."
            )


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
