"""Time segmentation, queries on a hierarchy, merging and evaluation.

The image is the example photograph of scikit-image, so that every revision is timed on the same pixels.
"""

import numpy as np
from skimage.data import coffee

import supercuts
from supercuts.evaluate.hierarchies import score_hierarchy
from supercuts.graph.rag import graph_and_statistics
from supercuts.merging.mergers import Regions, merge
from supercuts.networks.predict import predict
from supercuts.superpixels.leaves import make_leaves


class Segment:
    """Segmentation of an image, by number of superpixels."""

    params = (100, 600)
    param_names = ("superpixels",)
    timeout = 600

    def setup(self, superpixels: int) -> None:
        """Load the model and compile."""
        self.image, self.model = coffee(), supercuts.load("compact")
        self.model.segment(self.image, superpixels=superpixels)

    def time_segment(self, superpixels: int) -> None:
        """Segment."""
        self.model.segment(self.image, superpixels=superpixels)

    def peakmem_segment(self, superpixels: int) -> None:
        """Measure the peak memory of a process that segments."""
        self.model.segment(self.image, superpixels=superpixels)


class Query:
    """Queries on a hierarchy of 600 superpixels."""

    timeout = 600

    def setup(self) -> None:
        """Make the hierarchy; its first query of each kind compiles."""
        self.h = supercuts.load("compact").segment(coffee(), superpixels=600)
        self.middle, self.corner = (200, 300), (5, 5)
        for query in (self.time_cut, self.time_ucm, self.time_select_point, self.time_select_clicks):
            query()

    def time_cut(self) -> None:
        """Cut to exactly 50 regions."""
        self.h.cut(regions=50)

    def time_ucm(self) -> None:
        """Draw the contour map."""
        self.h.ucm()

    def time_select_point(self) -> None:
        """Select the region under a point."""
        self.h.select(point=self.middle)

    def time_select_clicks(self) -> None:
        """Select by a click on the object and one beside it."""
        self.h.select(points={1: [self.middle], 2: [self.corner]})


class Merge:
    """Merging of superpixels into a tree."""

    timeout = 600

    def setup(self) -> None:
        """Run the network and make the superpixels."""
        model = supercuts.load("compact")
        maps = predict(coffee(), model.network)
        labels = make_leaves(maps, 600, model.network, model.config, affinity=model.affinity)
        graph, statistics = graph_and_statistics(labels, maps)
        self.regions = Regions(graph, model.config.merging, statistics, model.affinity, None)
        merge(self.regions)

    def time_merge(self) -> None:
        """Merge down to one region."""
        merge(self.regions)


class Evaluate:
    """Scoring of one hierarchy against two annotations."""

    timeout = 600

    def setup(self) -> None:
        """Make the hierarchy, and use its cuts at 8 and 20 regions as annotations."""
        self.h = supercuts.load("compact").segment(coffee(), superpixels=600)
        self.truths = [np.ascontiguousarray(self.h.cut(regions=n)) for n in (8, 20)]
        score_hierarchy(self.h, self.truths)

    def time_evaluate(self) -> None:
        """Score regions, nodes and boundaries."""
        score_hierarchy(self.h, self.truths)
