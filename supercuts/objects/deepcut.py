"""DeepCut's rule for objects: what is not the part that holds the image border.

In   node features (N, D), not normalised, NodeGraph
Out  Foreground
Not  no network: merging/deepcut.py optimises it on this image

Aflalo et al., ICCVW 2023. The original looks at the four corner patches; here every node counts by its border.
"""

import numpy as np
from jaxtyping import Float

from supercuts.merging.deepcut import DeepCutConfig, Progress, deepcut
from supercuts.objects.foreground import Foreground, check_features, foreground
from supercuts.objects.graphs import NodeGraph

NCUT = DeepCutConfig(loss="ncut", n_parts=2)
CC = DeepCutConfig(loss="cc", n_parts=10)  # at most ten parts


def deepcut_object(
    features: Float[np.ndarray, "nodes channels"],
    graph: NodeGraph,
    config: DeepCutConfig = NCUT,
    progress: Progress | None = None,
) -> Foreground:
    """Return all parts but the background, on the graph of all pairs; `progress` is told each step of so many."""
    check_features(features, graph)
    soft = deepcut(features.astype(np.float32), None, config, progress).soft.astype(np.float64)
    part = soft.argmax(1)
    n_parts = soft.shape[1]
    background = int(np.bincount(part, graph.border, minlength=n_parts).argmax())
    others = np.delete(soft, background, axis=1).max(1, initial=0.0)
    vector = others - soft[:, background]
    likely = others / (others + soft[:, background])  # 0.5 where the background is as likely as the best other part
    return foreground(part != background, vector, likely, graph.area)
