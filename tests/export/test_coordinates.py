import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import rasterio
from PIL import Image

import supercuts
from supercuts.core.errors import FileFormatError, InputError
from supercuts.export.rasters import PIXELS, crs_of_rasterio, epsg_number, georeference_of, read_georeference
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.georeference import Georeference


def test_a_geotiff_has_map_coordinates(geotiff, ragged):
    place = read_georeference(geotiff, ragged.shape)
    assert place.transform == (0.3, 0.02, 500_000.1, 0.01, -0.3, 5_400_000.7)
    assert place.crs == "EPSG:32632"
    known = replace(ragged, georeference=Georeference((2, 0, 100, 0, -2, 50), "EPSG:4326"))
    assert georeference_of(known, geotiff) == place
    assert georeference_of(known, None) == known.georeference
    assert georeference_of(ragged, None) == PIXELS


def test_reference_systems_by_number_and_by_text():
    crs = pytest.importorskip("rasterio.crs").CRS
    assert epsg_number("EPSG:32632") == 32632
    assert epsg_number(crs.from_epsg(3857).to_wkt()) == 3857
    homemade = crs.from_proj4("+proj=laea +lat_0=12 +lon_0=34 +datum=WGS84").to_wkt()
    assert epsg_number(homemade) is None
    assert crs_of_rasterio(homemade) == crs.from_wkt(homemade)
    assert crs_of_rasterio(None) is None
    with pytest.raises(
        InputError, match=r"crs='EPSG:1' is not a coordinate reference system of rasterio .* --like|like="
    ):
        crs_of_rasterio("EPSG:1")


def test_refusals(geotiff, ragged, tmp_path):
    with pytest.raises(InputError, match=r"19 rows and 26 columns, the hierarchy 3 and 4. Give the image that was"):
        read_georeference(geotiff, (3, 4))
    Image.fromarray(ragged.image).save(tmp_path / "plain.tif")
    with pytest.raises(InputError, match=r"plain.tif' is not georeferenced. Give a GeoTIFF with its transform"):
        read_georeference(tmp_path / "plain.tif", ragged.shape)
    with pytest.raises(FileFormatError, match=r"no.tif cannot be read by rasterio"):
        read_georeference(tmp_path / "no.tif", ragged.shape)


@pytest.fixture
def server():
    """Yield the address of a server that answers everything with WKT, and the list of what it was asked for."""
    asked = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body = rasterio.crs.CRS.from_epsg(4326).to_wkt().encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/place", asked
        http.shutdown()
        thread.join()


def hierarchy_at(crs):
    labels = np.array([[0, 0], [1, 1]], np.int32)
    tree = (np.array([2, 2, 2], np.int32), np.array([0, 0, 1], np.float32), np.zeros((2, 0), np.float32))
    return Hierarchy(labels, *tree, georeference=Georeference((1, 0, 0, 0, -1, 0), crs))


@pytest.mark.parametrize("format", ["geojson", "gpkg", "geotiff"])
def test_a_reference_system_opens_no_address_and_no_file(tmp_path, server, format):
    if format == "gpkg":
        pytest.importorskip("pyogrio")
    address, asked = server
    (tmp_path / "place").write_text(rasterio.crs.CRS.from_epsg(4326).to_wkt())
    (tmp_path / "init").write_text("<4326> +proj=longlat +datum=WGS84 +no_defs <>\n")
    for crs in (address, f"{tmp_path}/place", f"+init={tmp_path}/init:4326", f"+proj=longlat +nadgrids={address}"):
        npz = tmp_path / "evil.npz"
        hierarchy_at(crs).save(npz, overwrite=True)
        target = tmp_path / f"out.{ {'geotiff': 'tif'}.get(format, format) }"
        with pytest.raises(InputError, match="neither a code"):
            supercuts.read(npz).export(target, format)
    assert asked == []


def test_codes_and_definitions_are_taken():
    wkt = rasterio.crs.CRS.from_epsg(32632).to_wkt()
    for crs in ("EPSG:32632", "epsg:32632", wkt, rasterio.crs.CRS.from_epsg(32632).to_wkt(version="WKT2_2019")):
        assert crs_of_rasterio(crs).to_epsg() == 32632
    for crs in ("WGS84", "OGC:CRS84", "ESRI:102003", "urn:ogc:def:crs:EPSG::4326", "+proj=utm +zone=32 +datum=WGS84"):
        assert crs_of_rasterio(crs).to_wkt()


def test_only_the_file_that_was_named_is_read(tmp_path, server):
    address, asked = server
    image = tmp_path / "scene.tif"
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(1, 0, 5, 0, -1, 9)}
    with rasterio.open(image, "w", driver="GTiff", width=2, height=2, count=1, dtype="uint8", **place) as file:
        file.write(np.zeros((1, 2, 2), np.uint8))
    virtual = tmp_path / "virtual.tif"
    virtual.write_text(
        '<VRTDataset rasterXSize="2" rasterYSize="2"><SRS>EPSG:32632</SRS><GeoTransform>0,1,0,0,0,-1</GeoTransform>'
        f'<VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename>{image}</SourceFilename>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    assert read_georeference(image, (2, 2)).crs == "EPSG:32632"
    for name in (virtual, virtual.read_text(), address, f"/vsicurl/{address}", f"GTIFF_DIR:1:{image}"):
        with pytest.raises(FileFormatError, match="cannot be read by rasterio"):
            read_georeference(name, (2, 2))
    assert asked == []
