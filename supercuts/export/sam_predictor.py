"""Use SuperCuts in place of Segment Anything's predictor: masks from clicks, boxes and earlier masks.

In   an image, then prompts in (x, y) pixels
Out  masks of the part, the object and the scene at the prompts, with scores and logits
Not  no network after set_image: prompts are queries of the tree
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, Shaped, UInt8

from supercuts.core.checks import check_choice
from supercuts.core.errors import InputError
from supercuts.export.rasters import partitions
from supercuts.export.sam import ImageSegmenter, segmented
from supercuts.hierarchy import selection
from supercuts.hierarchy.cuts import Granularity, paint
from supercuts.hierarchy.tree import Hierarchy

if TYPE_CHECKING:
    import torch

_GRANULARITY = {"part": 0.75, "scene": 0.25}  # in place of levels that are not calibrated
_LOW_RES_PX = 256
_PADDING_LOGIT = -32.0  # outside the image
_LEAST_PROBABILITY = 1e-14
_LEAST_LOGIT = 1e-3


class SuperCutsPredictor:
    """Use in place of SamPredictor: set_image once, then predict masks from clicks and boxes in (x, y).

    Parameters
    ----------
    model
        Model of `supercuts.load`, or any object whose ``segment(image)`` returns a hierarchy.
    superpixels
        Number of superpixels; if None, that of the model.

    Examples
    --------
    >>> import supercuts
    >>> predictor = SuperCutsPredictor(supercuts.load("compact"))
    >>> predictor.set_image(np.zeros((32, 48, 3), np.uint8))
    >>> predictor.is_image_set
    True
    """

    mask_threshold = 0.0

    def __init__(self, model: ImageSegmenter, superpixels: int | None = None) -> None:
        self.model = model
        self.superpixels = superpixels
        self.transform = _Identity()
        self.reset_image()

    def reset_image(self) -> None:
        """Forget the image.

        Examples
        --------
        >>> predictor.reset_image()
        >>> predictor.is_image_set
        False
        """
        self.hierarchy: Hierarchy | None = None

    @property
    def is_image_set(self) -> bool:
        """Whether set_image was called."""
        return self.hierarchy is not None

    @property
    def device(self) -> str:
        """The device that the model runs on."""
        return str(getattr(self.model, "device", "cpu"))

    def set_image(self, image: UInt8[np.ndarray, "height width 3"], image_format: str = "RGB") -> None:
        """Segment an image; `predict` then takes milliseconds.

        Parameters
        ----------
        image
            (H, W, 3) uint8.
        image_format
            Order of its channels, "RGB" or "BGR".

        Raises
        ------
        InputError
            If `image_format` is unknown.

        Examples
        --------
        >>> predictor.set_image(np.zeros((32, 48, 3), np.uint8), image_format="BGR")
        """
        check_choice("image_format", image_format, ("RGB", "BGR"))
        rgb = image if image_format == "RGB" else np.ascontiguousarray(image[..., ::-1])
        self.hierarchy = segmented(self.model, rgb, self.superpixels)

    def predict(
        self,
        point_coords: Shaped[np.ndarray, "points 2"] | None = None,
        point_labels: Shaped[np.ndarray, " points"] | None = None,
        box: Shaped[np.ndarray, "..."] | None = None,
        mask_input: Float32[np.ndarray, "1 rows columns"] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[
        Shaped[np.ndarray, "masks height width"], Float32[np.ndarray, " masks"], Float32[np.ndarray, "masks _ _"]
    ]:
        """Return masks of the object at clicks, in a box, or both.

        Parameters
        ----------
        point_coords
            (P, 2) clicks (x, y) in pixels.
        point_labels
            (P,), 1 for a click on the object, 0 for a click next to it.
        box
            (4,) x0, y0, x1, y1 in pixels. Superpixels outside it are not object.
        mask_input
            (1, 256, 256) float32, low-resolution logits of an earlier prediction, averaged with those of the clicks.
        multimask_output
            Whether to return three masks: of the part, the object and the scene at the clicks. If False, the object.
        return_logits
            Whether to return logits (float32), positive inside the masks, instead of masks (bool).

        Returns
        -------
        masks : bool or float32 (C, H, W)
            C is 3 or 1.
        scores : float32 (C,)
            Expected intersection over union with the object, 0..1.
        low_res_logits : float32 (C, 256, 256)
            Logits of the image scaled to a longest side of 256, as `mask_input` takes them.

        Raises
        ------
        InputError
            If no image is set, nothing is given to predict from, or coordinates are outside the image.

        Examples
        --------
        >>> masks, scores, logits = predictor.predict(point_coords=np.array([[20, 10]]), point_labels=np.array([1]))
        >>> masks.shape, scores.shape, logits.shape, masks[:, 10, 20].all()
        ((3, 32, 48), (3,), (3, 256, 256), np.True_)
        """
        if self.hierarchy is None:
            raise InputError("no image is set: call set_image(image) before predict.")
        h = self.hierarchy
        clicked = None
        if point_coords is not None or box is not None:
            clicked = _clicked(h, _points(point_coords, point_labels), None if box is None else _box(h, box))
        logits = _leaf_logits(h, clicked, None if mask_input is None else _leaf_means(h, mask_input))
        chosen = [logits > 0]
        if multimask_output:
            # without clicks, the superpixel that is most certainly object
            on_object = np.arange(h.n_leaves) == logits.argmax() if clicked is None else clicked == 1
            next_to = np.zeros(h.n_leaves, bool) if clicked is None else clicked == 2
            part, scene = (_regions_at(h, level, on_object, next_to, logits > 0) for level in ("part", "scene"))
            chosen = [part, *chosen, scene]
        leaf_masks = np.stack(chosen)
        values = np.where(leaf_masks, np.maximum(logits, _LEAST_LOGIT), np.minimum(logits, -_LEAST_LOGIT))
        values = values.astype(np.float32)
        painted = [paint(leaf_values, h._labels) for leaf_values in (values if return_logits else leaf_masks)]
        return np.stack(painted), _expected_iou(h, logits, leaf_masks), _low_res(h, values)

    def predict_torch(
        self,
        point_coords: "torch.Tensor | None",
        point_labels: "torch.Tensor | None",
        boxes: "torch.Tensor | None" = None,
        mask_input: "torch.Tensor | None" = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
        """Return the results of `predict` for a batch of prompts.

        Parameters
        ----------
        point_coords, point_labels, boxes, mask_input
            (B, P, 2), (B, P), (B, 4) and (B, 1, 256, 256), in pixels of the image; `transform` leaves coordinates as
            they are.
        multimask_output, return_logits
            As in `predict`.

        Returns
        -------
        tuple of torch.Tensor
            Results of `predict`: (B, C, H, W), (B, C) and (B, C, 256, 256).

        Raises
        ------
        InputError
            As in `predict`.

        Examples
        --------
        >>> import torch
        >>> predictor.predict_torch(torch.tensor([[[20, 10]]]), torch.tensor([[1]]))[0].shape
        torch.Size([1, 3, 32, 48])
        """
        import torch

        tensors = (point_coords, point_labels, boxes, mask_input)
        batches = [None if tensor is None else tensor.cpu().numpy() for tensor in tensors]
        n = next((len(batch) for batch in batches if batch is not None), 0)
        results = []
        for i in range(n):
            coords, labels, box, earlier = (None if batch is None else batch[i] for batch in batches)
            results.append(self.predict(coords, labels, box, earlier, multimask_output, return_logits))
        masks, scores, logits = (torch.from_numpy(np.stack(part)) for part in zip(*results, strict=True))
        return masks, scores, logits


class _Identity:
    """Transform of coordinates with the methods of ResizeLongestSide: images are not resized, so nothing changes."""

    def apply_coords(self, coords: Any, original_size: tuple[int, ...]) -> Any:
        return coords

    apply_boxes = apply_coords_torch = apply_boxes_torch = apply_coords


def _points(coords: np.ndarray | None, labels: np.ndarray | None) -> dict[int, np.ndarray]:
    """Return the clicks (y, x) on the object (1) and next to it (2)."""
    if coords is None:
        return {}
    if labels is None or len(labels) != len(coords) or not np.isin(labels, (0, 1)).all():
        raise InputError("point_labels must hold one label for each of point_coords: 1 on the object, 0 next to it.")
    labels, coords = np.asarray(labels), np.asarray(coords)[:, ::-1]
    return {1: coords[labels == 1], 2: coords[labels == 0]}


def _box(h: Hierarchy, box: np.ndarray) -> tuple[int, ...]:
    """Return the part of the box in the image as y0 x0 y1 x1, ends exclusive."""
    height, width = h.shape
    x0, y0, x1, y1 = np.rint(np.asarray(box, np.float64).reshape(-1)[:4]).astype(int).tolist()
    clipped = max(y0, 0), max(x0, 0), min(y1, height), min(x1, width)
    if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
        raise InputError(f"box={(x0, y0, x1, y1)} covers no pixel of an image of {width}x{height}: give x0 y0 x1 y1.")
    return clipped


def _clicked(h: Hierarchy, points: dict[int, np.ndarray], box: tuple[int, ...] | None) -> Int64[np.ndarray, " leaves"]:
    """Return 1 for leaves on the object, 2 for leaves that are not, 0 for others."""
    if box is None:
        return selection.clicked_leaves(h._labels, h.n_leaves, points)
    y0, x0, y1, x1 = box
    inside = h._labels[y0:y1, x0:x1]
    n_inside = np.bincount(inside[inside >= 0], minlength=h.n_leaves)
    clicked = np.where(2 * n_inside < h.areas()[: h.n_leaves], 2, 0)
    if not len(points.get(1, ())):  # then the centre of the box is object
        points = {**points, 1: np.array([[(y0 + y1 - 1) / 2, (x0 + x1 - 1) / 2]])}
    by_hand = selection.clicked_leaves(h._labels, h.n_leaves, points)
    return np.where(by_hand > 0, by_hand, clicked)


def _leaf_logits(
    h: Hierarchy, clicked: np.ndarray | None, earlier: np.ndarray | None
) -> Float64[np.ndarray, " leaves"]:
    """Return the logit of each leaf's probability of being object."""
    if clicked is None:
        if earlier is None:
            raise InputError("nothing to predict from: give point_coords with point_labels, box, or mask_input.")
        return earlier
    probability = selection.foreground_probability(h._labels, h._parents, h._altitudes, h.n_leaves, clicked)
    probability = probability.clip(_LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)  # clicked leaves have 0 or 1
    logits = np.log(probability) - np.log1p(-probability)
    if earlier is not None:
        logits = np.where(clicked > 0, logits, (logits + earlier) / 2)
    return np.asarray(logits)


def _regions_at(
    h: Hierarchy, level: str, on_object: np.ndarray, next_to: np.ndarray, is_object: np.ndarray
) -> Bool[np.ndarray, " leaves"]:
    """Return the leaves in the regions of a level on the object; regions with clicks next to it are cut as it is."""
    how = Granularity(level=level) if level in h.levels else Granularity(granularity=_GRANULARITY[level])
    (part,) = partitions(h, how)
    region = part.region_of_leaf(h)
    is_mixed = np.isin(region, region[next_to])
    is_chosen: np.ndarray = np.isin(region, region[on_object]) & (~is_mixed | is_object)
    return is_chosen


def _expected_iou(h: Hierarchy, logits: np.ndarray, leaf_masks: np.ndarray) -> Float32[np.ndarray, " masks"]:
    area = h.areas()[: h.n_leaves]
    likely = area / (1 + np.exp(-logits))
    common = leaf_masks @ likely
    scores: np.ndarray = common / (leaf_masks @ area + likely.sum() - common)
    return scores.astype(np.float32)


def _nearest(n: int, side: int) -> np.ndarray:
    """Return for each of n pixels along a side the nearest of `side` pixels along the same side."""
    at: np.ndarray = (2 * np.arange(n) + 1) * side // (2 * n)
    return at


def _low_res_shape(shape: tuple[int, int]) -> tuple[int, int]:
    height, width = (max(round(side * _LOW_RES_PX / max(shape)), 1) for side in shape)
    return height, width


def _low_res(h: Hierarchy, values: np.ndarray) -> Float32[np.ndarray, "masks _ _"]:
    rows, columns = (_nearest(n, side) for n, side in zip(_low_res_shape(h.shape), h.shape, strict=True))
    small = np.full((len(values), _LOW_RES_PX, _LOW_RES_PX), _PADDING_LOGIT, np.float32)
    labels = np.ascontiguousarray(h._labels[rows[:, None], columns])
    for out, logits in zip(small, values, strict=True):
        out[: rows.size, : columns.size] = paint(logits, labels)
    return small


def _leaf_means(h: Hierarchy, low_res: np.ndarray) -> Float64[np.ndarray, " leaves"]:
    """Return the mean logit of each leaf."""
    if low_res.shape[-2:] != (_LOW_RES_PX, _LOW_RES_PX):
        raise InputError(
            f"mask_input of shape {low_res.shape}; expected (1, {_LOW_RES_PX}, {_LOW_RES_PX}): give the third result "
            "of an earlier predict, mask_input=logits[i][None]."
        )
    rows, columns = (_nearest(side, n) for n, side in zip(_low_res_shape(h.shape), h.shape, strict=True))
    values = low_res.reshape(-1, _LOW_RES_PX, _LOW_RES_PX)[0][rows[:, None], columns]
    is_valid = h._labels >= 0
    sums = np.bincount(h._labels[is_valid], weights=values[is_valid], minlength=h.n_leaves)
    means: np.ndarray = sums / h.areas()[: h.n_leaves]
    return means
