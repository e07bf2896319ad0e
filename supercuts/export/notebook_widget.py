"""The viewer as a notebook widget, which gives selection, cut and strokes back to Python; needs anywidget."""

from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets
from jaxtyping import Bool, Int32

from supercuts.core.errors import InputError
from supercuts.export.html_viewer import page
from supercuts.hierarchy.cuts import count_of_granularity
from supercuts.hierarchy.regions import check_node
from supercuts.hierarchy.selection import mask_of_nodes
from supercuts.hierarchy.tree import Hierarchy


class HierarchyWidget(anywidget.AnyWidget):
    """The viewer of a hierarchy in a notebook; what is done in it is read and set from Python.

    Parameters
    ----------
    hierarchy : Hierarchy
        The hierarchy to show.
    height : int
        Of the viewer, in pixels.

    Attributes
    ----------
    selection : list of dict
        The selected regions, each {"node": id in the tree, "label": 1 or higher}.
    strokes : list of dict
        The scribbles, each {"label": 1 or higher, "points": [[y, x], ...]}.
    names : list of str
        The names of labels 1, 2, ...
    cut : dict
        The keyword of Hierarchy.cut that the viewer shows: regions, level (also "superpixels") or altitude.

    Raises
    ------
    InputError
        If the image is too large for the viewer, or a value that is set does not fit the hierarchy.

    Examples
    --------
    >>> h = Hierarchy(
    ...     labels=np.array([[0, 1, 2, 3]], dtype=np.int32),
    ...     parents=np.array([4, 4, 5, 5, 6, 6, 6], dtype=np.int32),
    ...     altitudes=np.array([0, 0, 0, 0, 0.25, 0.5, 0.75], dtype=np.float32),
    ...     embeddings=np.zeros((4, 0), dtype=np.float32),
    ... )
    >>> widget = HierarchyWidget(h)
    >>> widget.cut, widget.selection = {"regions": 3}, [{"node": 5, "label": 1}]
    >>> widget.labels().tolist(), widget.mask().tolist()
    ([[0, 0, 1, 2]], [[False, False, True, True]])
    """

    _esm = Path(__file__).with_name("viewer") / "widget.mjs"
    _page = traitlets.Unicode().tag(sync=True)
    height = traitlets.Int(640).tag(sync=True)
    selection = traitlets.List(traitlets.Dict()).tag(sync=True)
    strokes = traitlets.List(traitlets.Dict()).tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    cut = traitlets.Dict().tag(sync=True)

    def __init__(self, hierarchy: Hierarchy, height: int = 640) -> None:
        self.hierarchy = hierarchy
        super().__init__(_page=page(hierarchy), height=height)

    def labels(self) -> Int32[np.ndarray, "height width"]:
        """Return the (H, W) labels of the cut that the viewer shows; before it is shown, of the superpixels."""
        if self.cut in ({}, {"level": "superpixels"}):
            return self.hierarchy.labels
        return self.hierarchy.cut(**self.cut)

    def mask(self, label: int | None = None) -> Bool[np.ndarray, "height width"]:
        """Return the (H, W) mask of the selected regions of one label, or of all labels if it is None."""
        h = self.hierarchy
        nodes = [region["node"] for region in self.selection if label in (None, region["label"])]
        return mask_of_nodes(h._labels, h._parents, h.n_leaves, np.array(nodes, np.int32))

    def scribbled(self) -> Int32[np.ndarray, "height width"]:
        """Return the (H, W) labels that Hierarchy.segment_scribbles gives for the strokes."""
        strokes: dict[int, list[Any]] = {}
        for stroke in self.strokes:
            strokes.setdefault(stroke["label"], []).append(stroke["points"])
        return self.hierarchy.segment_scribbles(strokes)

    @traitlets.validate("cut")
    def _check_cut(self, proposal: dict[str, Any]) -> dict[str, Any]:
        cut: dict[str, Any] = proposal["value"]
        if cut in ({}, {"level": "superpixels"}):
            return cut
        if unknown := sorted(set(cut) - {"regions", "level", "altitude", "granularity"}):
            raise InputError(f"cut holds {unknown[0]}, which is not shown: give regions, level or altitude.")
        self.hierarchy.cut_nodes(**cut)  # raises InputError
        if "granularity" in cut:
            return {"regions": count_of_granularity(cut["granularity"], self.hierarchy.n_leaves)}
        return cut

    @traitlets.validate("selection")
    def _check_selection(self, proposal: dict[str, Any]) -> list[dict[str, Any]]:
        for region in proposal["value"]:
            if set(region) != {"node", "label"}:
                raise InputError(f'selection holds {region}; expected {{"node": id, "label": 1 or higher}}.')
            check_node(self.hierarchy.n_nodes, region["node"])
        return list(proposal["value"])
