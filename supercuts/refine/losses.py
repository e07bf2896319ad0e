"""The terms of the objective, each as it is defined.

In   response (K, H, W) of one image, targets and weights (H, W)
Out  scalars that autograd differentiates
Not  no sum of the terms: objective.py has it, in a form that is several times faster on CPUs

Similarity and continuity: Kim, Kanezaki & Tanaka, IEEE TIP 2020, equations 1 to 4. Areas: the published programs count
labels, which has no gradient; here an area is the mean probability of a class, whose gradient moves pixels.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int

Response = Float[torch.Tensor, "classes height width"]


def similarity(
    response: Response, targets: Int[torch.Tensor, "height width"], weights: Float[torch.Tensor, "height width"]
) -> torch.Tensor:
    """Return the sum over pixels of weight times cross-entropy of the softmaxed response with the target class."""
    entropy = F.cross_entropy(response[None], targets[None].long(), reduction="none")[0]
    return (weights * entropy).sum()


def continuity(response: Response) -> tuple[torch.Tensor, torch.Tensor]:
    """Return L_y and L_x: the mean absolute difference of vertical and of horizontal neighbours, over all classes.

    An image of one row has no vertical neighbours: 0.

    >>> [round(float(term), 2) for term in continuity(torch.tensor([[[0.0, 1.0], [3.0, 3.0]]]))]
    [2.5, 0.5]
    """
    vertical, horizontal = response.diff(dim=1), response.diff(dim=2)
    return vertical.abs().sum() / max(1, vertical.numel()), horizontal.abs().sum() / max(1, horizontal.numel())


def area_terms(response: Response, is_alive: Bool[torch.Tensor, " classes"]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return L_max, the soft area of the largest class, and L_min, 1 - that of the smallest class that is alive.

    The soft area of a class is the mean over the pixels of its probability; alive is a class that labels a pixel.
    """
    areas = response.softmax(dim=0).mean(dim=(1, 2))
    return areas.max(), 1 - areas[is_alive].min()
