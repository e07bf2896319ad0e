"""Measure the objects of a photo: one row a region, with size, place, shape and mean colour.

python examples/statistics_table.py photo.jpg table.csv
"""

import sys

import numpy as np
import pandas as pd

import supercuts

photo = sys.argv[1] if len(sys.argv) > 1 else "examples/photo.jpg"
h = supercuts.load("compact").segment(photo)
labels = h.cut(level="object")
nodes = pd.DataFrame(h.region_table()).set_index("node")
table = nodes.loc[h.cut_nodes(level="object"), ["parent", "area", "altitude"]]
boxes = h.region_table().bbox_yxyx[table.index]
table["share"] = table["area"] / labels.size
table["height"], table["width"] = (boxes[:, 2:] - boxes[:, :2]).T
table["fill"] = table["area"] / (table["height"] * table["width"])
pixels = pd.DataFrame(h.image.reshape(-1, 3), columns=["red", "green", "blue"])
means = pixels.groupby(labels.ravel()).agg(["mean", "std"])
table[["_".join(column) for column in means.columns]] = np.asarray(means)
print(table.sort_values("area", ascending=False).round(2).head(8).to_string())
if len(sys.argv) > 2:
    table.to_csv(sys.argv[2])
