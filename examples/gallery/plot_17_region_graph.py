"""
The graph of the regions
========================

Neighbouring regions form a graph. ``h.export(..., "networkx-rag")`` writes it, with areas, places, colours and the
altitude at which each pair merges, for networkx, Gephi or Cytoscape.
"""

import json
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import networkx as nx
from skimage import data, segmentation

import supercuts

image = data.coffee()
h = supercuts.load("compact").segment(image)

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "graph.json"
    h.export(path, "networkx-rag", regions=40)
    graph = nx.node_link_graph(json.loads(path.read_text()), edges="edges")
print(graph)

fig, ax = plt.subplots(figsize=(8, 5.4), layout="constrained")
ax.imshow(segmentation.mark_boundaries(image, h.cut(regions=40), color=(1, 1, 1)))
place = {node: centroid[::-1] for node, centroid in graph.nodes("centroid_yx")}
strength = [boundary for _, _, boundary in graph.edges(data="boundary")]
nx.draw_networkx_edges(graph, place, ax=ax, edge_color=strength, edge_cmap=plt.cm.plasma, width=2)
nx.draw_networkx_nodes(graph, place, ax=ax, node_size=30, node_color="white", edgecolors="black")
ax.set_title("colour of an edge: the altitude at which its regions merge")
ax.axis("off")
plt.show()
