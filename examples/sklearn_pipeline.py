"""Classify images by the superpixels they fall into, in a scikit-learn pipeline.

python examples/sklearn_pipeline.py               prints the accuracy on held-out images
"""

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import supercuts


class SuperpixelFeatures(TransformerMixin, BaseEstimator):
    """Turns images into rows: mean and spread of the superpixels' embeddings, and how the regions merge.

    model         argument of supercuts.load
    superpixels   leaves of each image's tree
    """

    def __init__(self, model="compact", superpixels=50):
        self.model = model
        self.superpixels = superpixels

    def fit(self, images, y=None):
        """Load the model; nothing is learned from the images."""
        self.model_ = supercuts.load(self.model)
        return self

    def transform(self, images):
        """Return one row an image."""
        return np.stack([self._row(self.model_.segment(image, superpixels=self.superpixels)) for image in images])

    def _row(self, h):
        merges = np.quantile(h.altitudes[h.n_leaves :], np.linspace(0, 1, 9))
        return np.concatenate([h.embeddings.mean(0), h.embeddings.std(0), merges])


def draw(kind, rng, size=48):
    """Return a noisy image of stripes (0) or of a disc (1), in random colours."""
    y, x = np.indices((size, size))
    angle, cy, cx = rng.uniform(0, np.pi), *rng.uniform(0.35, 0.65, 2) * size
    stripes = np.sin((x * np.cos(angle) + y * np.sin(angle)) / 3) > 0
    disc = np.hypot(y - cy, x - cx) < size / 4
    colors = rng.uniform(0, 255, (2, 3))
    image = colors[np.where(kind == 0, stripes, disc).astype(int)] + rng.normal(0, 15, (size, size, 3))
    return image.clip(0, 255).astype(np.uint8)


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    kinds = np.arange(40) % 2
    images = [draw(kind, rng) for kind in kinds]
    classifier = make_pipeline(SuperpixelFeatures(), StandardScaler(), LogisticRegression())
    scores = cross_val_score(classifier, images, kinds, cv=4)
    print(f"accuracy {scores.mean():.3f} in {scores.size} folds of {kinds.size} images")
