"""A QGIS Processing script that segments a raster with the command line of SuperCuts and adds a layer for each level.

Processing Toolbox, Scripts, Add Script to Toolbox. `supercuts` may be installed in an environment of its own: the
script only starts its command. levels.qml next to it is the style of the layers.
"""

import subprocess
import tempfile
from pathlib import Path

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsVectorLayer,
)

LEVELS = ("scene", "object", "part", "superpixels")
WIDTHS = {"scene": 1.0, "object": 0.6, "part": 0.35, "superpixels": 0.15}


def commands(program, raster, folder, output, superpixels, bands):
    """Return the two commands: segment the raster, write the GeoPackage."""
    options = ["--superpixels", str(superpixels)]
    options += ["--bands", bands] if bands else []
    segment = [program, "segment", raster, "-o", folder, "--no-viewer", "--no-overlays", *options]
    hierarchy = str(Path(folder) / (Path(raster).stem + ".npz"))
    export = [program, "export", hierarchy, "--format", "gpkg", "--like", raster, "-o", output, "--overwrite"]
    return [segment, export]


class SuperCutsSegment(QgsProcessingAlgorithm):
    """Segment a raster into nested regions: a GeoPackage with a layer for each level."""

    def name(self):
        """Return the id of the algorithm."""
        return "supercuts_segment"

    def displayName(self):
        """Return the name in the toolbox."""
        return "Segment into nested regions"

    def createInstance(self):
        """Return a new instance."""
        return SuperCutsSegment()

    def initAlgorithm(self, config=None):
        """Declare the parameters."""
        self.addParameter(QgsProcessingParameterRasterLayer("INPUT", "Raster"))
        number = QgsProcessingParameterNumber("SUPERPIXELS", "Superpixels", defaultValue=600, minValue=1)
        self.addParameter(number)
        self.addParameter(QgsProcessingParameterString("BANDS", "Bands, for example 4,3,2", optional=True))
        self.addParameter(QgsProcessingParameterString("PROGRAM", "Command", defaultValue="supercuts"))
        self.addParameter(QgsProcessingParameterFileDestination("OUTPUT", "Regions", "GeoPackage (*.gpkg)"))

    def processAlgorithm(self, parameters, context, feedback):
        """Run both commands; add the layers to the project."""
        raster = self.parameterAsRasterLayer(parameters, "INPUT", context).source()
        output = self.parameterAsFileOutput(parameters, "OUTPUT", context)
        program = self.parameterAsString(parameters, "PROGRAM", context)
        number = self.parameterAsInt(parameters, "SUPERPIXELS", context)
        bands = self.parameterAsString(parameters, "BANDS", context)
        with tempfile.TemporaryDirectory() as folder:
            for command in commands(program, raster, folder, output, number, bands):
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                feedback.pushInfo(done.stdout + done.stderr)
                if done.returncode:
                    raise QgsProcessingException(done.stderr or f"{program} ended with code {done.returncode}")
        self.layers = self.add_layers(output, context)
        return {"OUTPUT": output}

    def add_layers(self, output, context):
        """Have QGIS load each level that the file has; return their ids."""
        ids = []
        for level in LEVELS:
            layer = QgsVectorLayer(f"{output}|layername={level}", level, "ogr")
            if not layer.isValid():  # networks without calibrated levels
                continue
            context.temporaryLayerStore().addMapLayer(layer)
            details = QgsProcessingContext.LayerDetails(level, context.project(), level)
            context.addLayerToLoadOnCompletion(layer.id(), details)
            ids.append(layer.id())
        return ids

    def postProcessAlgorithm(self, context, feedback):
        """Style the loaded layers: outlines, thicker for coarser levels."""
        style = Path(__file__).with_name("levels.qml")
        for layer_id in self.layers:
            layer = context.getMapLayer(layer_id)
            if layer is not None and style.is_file():
                layer.loadNamedStyle(str(style))
                symbol = layer.renderer().symbol().symbolLayer(0)
                symbol.setStrokeWidth(WIDTHS[layer.name()])
        return {}
