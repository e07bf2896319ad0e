"""
Polygons and label maps for GIS
===============================

A GeoTIFF keeps its coordinates: ``gpkg`` and ``geotiff`` files open in QGIS at the right place, with one layer or
band a level. Here a photograph of the moon stands in for a satellite image.
"""

import tempfile
from pathlib import Path

import geopandas
import matplotlib.pyplot as plt
import rasterio
from skimage import data

import supercuts

folder = Path(tempfile.mkdtemp())
image = data.moon()
transform = rasterio.Affine(10, 0, 500_000, 0, -10, 5_400_000)  # 10 metres a pixel
profile = {"driver": "GTiff", "width": 512, "height": 512, "count": 1, "dtype": "uint8"}
with rasterio.open(folder / "moon.tif", "w", crs="EPSG:32632", transform=transform, **profile) as file:
    file.write(image, 1)

# %%
# Segmenting the path reads the coordinates; an array would have none.

h = supercuts.load("compact").segment(folder / "moon.tif", superpixels=300)
h.export(folder / "moon.gpkg", "gpkg")
h.export(folder / "regions.tif", "geotiff", regions=30)

polygons = geopandas.read_file(folder / "moon.gpkg", layer="object")
print(polygons.crs, len(polygons))
print(polygons.drop(columns="geometry").head(3).to_string())

# %%
# Polygons and rasters share the coordinates of the file.

fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
polygons.plot(ax=left, column="altitude", edgecolor="black", linewidth=0.5, cmap="viridis")
left.set(title="GeoPackage, layer object", xlabel="easting, m", ylabel="northing, m")
left.ticklabel_format(style="plain")
left.tick_params(axis="x", rotation=30)
with rasterio.open(folder / "regions.tif") as file:
    extent = (file.bounds.left, file.bounds.right, file.bounds.bottom, file.bounds.top)
    right.imshow(file.read(1), extent=extent, cmap="tab20", interpolation="nearest")
right.set(title="GeoTIFF, 30 regions", yticks=[], xticks=[])
plt.show()
