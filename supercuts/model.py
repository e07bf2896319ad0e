"""Model and load: a network with its calibration, ready to segment images."""

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from jaxtyping import Float32

from supercuts.core.checks import check_choice, check_in_range, check_whole
from supercuts.core.errors import InputError
from supercuts.core.files import printable
from supercuts.core.private_torch import will_have_bfloat16
from supercuts.core.threads import Progress
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.georeference import Georeference
from supercuts.images.raster import ReadOptions
from supercuts.images.scenes import Scene, all_bands, read_scene
from supercuts.merging.affinity import Affinity, Perceptrons
from supercuts.merging.mergers import MERGERS
from supercuts.merging.priors import read_priors
from supercuts.networks.maps import is_large
from supercuts.networks.network import EMBEDDED, VIEWS, Network, Pixels, is_on_gpu, read_calibration, weights_path
from supercuts.networks.predict import filled, predict_many
from supercuts.objects.result import Objects, Parts
from supercuts.pipeline import segment as segment_scene
from supercuts.refine.refine_config import RefineConfig
from supercuts.settings import GNN, Learned, PipelineConfig, default_config

if TYPE_CHECKING:
    import torch
    from PIL import Image

    # sources that read_image and read_bands accept
    Device = str | torch.device
    ImageSource = str | os.PathLike[str] | Image.Image | np.ndarray | torch.Tensor
else:
    Device = ImageSource = Any  # naming the types would import torch, which the engine "onnx" does not need

# masks, label maps, boxes, dicts of SAM or COCO, or a file of them; see Model.segment
Priors = Sequence[Any] | np.ndarray | dict[str, Any] | str | os.PathLike[str]
Refiner = str | RefineConfig
Mask = np.ndarray | str | os.PathLike[str]  # (H, W) bool, or the path of a mask file


class Model:
    """A network and its calibration, ready to segment images; `load` returns one.

    Parameters
    ----------
    network
        Network in eval mode; if None, SSN_pix, which uses only colour and position.
    levels
        Altitude, 0..1, of the levels "scene", "object" and "part".
    config
        Settings of the pipeline; if None, the defaults for this network.
    affinity
        Learned affinity to merge by; if None, regions merge by hand-made distances.
    gnn
        Graph neural network for ``merging="gnn"``.
    figure_ground
        Perceptrons for the method "tree" of `objects`.

    Examples
    --------
    >>> import supercuts
    >>> model = supercuts.load("compact")
    >>> image = np.zeros((32, 48, 3), np.uint8)
    >>> image[8:24, 16:32] = 255
    >>> h = model.segment(image, superpixels=12)
    >>> h.n_leaves, h.cut(regions=3).max()
    (12, np.int32(2))
    """

    def __init__(
        self,
        network: Network | None,
        levels: dict[str, float] | None = None,
        config: PipelineConfig | None = None,
        affinity: Affinity | None = None,
        gnn: GNN | None = None,
        figure_ground: Perceptrons | None = None,
    ) -> None:
        self.network = None if network is None else network.ready()
        self.levels = levels or {}
        self.affinity = affinity
        self.gnn = gnn
        self.figure_ground = figure_ground
        self.config = config or default_config(network)

    def __repr__(self) -> str:
        """Return the network, the levels, the merging method and the device on one line."""
        network = "no network" if self.network is None else self.network.config.backbone
        levels = ", ".join(f"{name} {altitude:.2f}" for name, altitude in self.levels.items())
        merging = self.config.merging.method
        return f"Model({network}, {f'levels {levels}' if levels else 'no levels'}, {merging} merging, on {self.device})"

    @property
    def device(self) -> str:
        """The device that the network runs on, such as "cpu" or "cuda:0"."""
        return "cpu" if self.network is None else self.network.device

    def to(self, device: Device) -> "Model":
        """Move the networks to a device.

        Parameters
        ----------
        device
            "cpu", "cuda", or another device of torch.

        Returns
        -------
        Model
            This model.

        Raises
        ------
        InputError
            If the device does not exist or the engine cannot use it.

        Examples
        --------
        >>> model.to("cpu").device
        'cpu'
        """
        networks: tuple[Any, ...] = (self.network, self.gnn)
        for network in networks:
            if network is not None:
                try:
                    network.to(device)
                except (RuntimeError, AssertionError) as error:  # torch without CUDA, or a computer without a GPU
                    reason = str(error).splitlines()[0]
                    raise InputError(f"device={str(device)!r} cannot be used ({reason}). Give cpu.") from error
        return self

    @overload
    def segment(
        self,
        image: list[Any],
        superpixels: int | None = None,
        *,
        refiner: Refiner | None = None,
        tile: int | None = None,
        bands: Sequence[int] | None = None,
        axes: str | None = None,
        page: int | None = None,
        stretch: str | None = None,
    ) -> list[Hierarchy]: ...
    @overload
    def segment(
        self,
        image: ImageSource,
        superpixels: int | None = None,
        priors: Priors | None = None,
        refiner: Refiner | None = None,
        *,
        tile: int | None = None,
        mask: Mask | None = None,
        bands: Sequence[int] | None = None,
        axes: str | None = None,
        page: int | None = None,
        stretch: str | None = None,
    ) -> Hierarchy: ...
    def segment(
        self,
        image: object,
        superpixels: int | None = None,
        priors: Priors | None = None,
        refiner: Refiner | None = None,
        *,
        tile: int | None = None,
        mask: Mask | None = None,
        bands: Sequence[int] | None = None,
        axes: str | None = None,
        page: int | None = None,
        stretch: str | None = None,
    ) -> Hierarchy | list[Hierarchy]:
        """Return the hierarchy of an image; a list of images returns a list.

        The tree has exactly `superpixels` leaves, or fewer if the image has fewer pixels. The same input always gives
        the same output. With a transformer, the last bit of an altitude may depend on the number of threads.

        Parameters
        ----------
        image
            Path, PIL image, (H, W) or (H, W, C) array, (C, H, W) torch tensor or xarray.DataArray with the number of
            channels that the network was trained on, or a list of these. Networks for 3 channels read RGB; grey images
            are converted. Other numbers of channels need arrays, tensors, .npy or .tif files.
        superpixels
            Number of leaves, from 1; if None, that of the configuration.
        priors
            Masks of another tool, such as a detector: boolean arrays (H, W); dicts as of SAM and COCO, with a
            segmentation (array, run lengths or polygons) or a bbox; a label map (H, W) of integers, 0 outside; boxes
            (K, 4) as y0, x0, y1, x1, which are filled; or a file: COCO's or SAM's .json, or a label map. Masks that are
            nested or disjoint are nodes of the tree. If masks cross, those of higher score are nodes, or earlier ones
            without scores, and the closest region to each of the others; `supercuts.report_priors` lists them.
        refiner
            "sp", "st" or a RefineConfig. Fits a network to this image, in about a minute, and redraws the regions. The
            tree then has fewer leaves and does not keep priors.
        tile
            Side in pixels of the tiles that the network predicts one by one; 0 predicts the whole image at once. If
            None, images of more than 2 megapixels are predicted row by row. The result is the same.
        mask
            (H, W) bool, true on valid pixels, or the path of a mask file; other pixels get the label -1.
        bands
            Input bands of the network, counted from 1, for an image with more bands; the others count as colour.
        axes
            "HWC", "CHW" or "HW": order of the axes of an array, tensor, .npy, or TIFF that does not name its axes.
        page
            Page, frame, time or depth to read from a file of several, counted from 1. If None, the first one, with a
            warning.
        stretch
            Stretch of the valid values: "percentile" (0.1 to 99.9), "minmax" or "none". If None, percentile if values
            of more than 8 bits use less than a tenth of their range, with a warning.

        Returns
        -------
        Hierarchy, or list of Hierarchy
            The merge tree of each image.

        Raises
        ------
        ImageError
            If an image cannot be read or has another number of channels.
        InputError
            If another argument is out of range, or if a mask does not fit the image.

        See Also
        --------
        segment_batch : Segment several images, in batches on a GPU.

        Examples
        --------
        >>> masked = model.segment(image, superpixels=12, mask=image[..., 0] > 0)
        >>> masked.is_masked, int(masked.areas()[masked.root])
        (True, 256)
        """
        options = ReadOptions(axes, page, stretch)
        if isinstance(image, list):
            if priors is not None or mask is not None:
                subject = "priors are masks" if mask is None else "mask is"
                raise InputError(f"{subject} of one image: segment the images of a list one by one.")
            return [
                self._segment_one(source, superpixels, None, refiner, tile, None, bands, options) for source in image
            ]
        return self._segment_one(image, superpixels, priors, refiner, tile, mask, bands, options)

    def segment_batch(
        self, images: Iterable[ImageSource], superpixels: int | None = None, *, progress: Progress | None = None
    ) -> list[Hierarchy]:
        """Return the hierarchies of images; on a GPU, the network predicts images of equal size in one batch.

        On CPUs, batches bring no gain, so each result equals that of `segment`. On a GPU, the last bits of the
        network's maps may differ from it.

        Parameters
        ----------
        images
            Images as in `segment`.
        superpixels
            As in `segment`.
        progress
            ``progress(done, total)`` is called after each image.

        Returns
        -------
        list of Hierarchy
            One per image, in order.

        Raises
        ------
        ImageError, InputError
            As in `segment`.

        Examples
        --------
        >>> [one.n_leaves for one in model.segment_batch([image, image], superpixels=12)]
        [12, 12]
        """
        sources, n = list(images), self._check_superpixels(superpixels)
        if not is_on_gpu(self.network):
            pairs: Iterable[tuple[int, Hierarchy]] = ((i, self.segment(source, n)) for i, source in enumerate(sources))
        else:
            pairs = self._segment_together(sources, n)
        hierarchies: dict[int, Hierarchy] = {}
        for number, h in pairs:
            hierarchies[number] = h
            if progress is not None:
                progress(len(hierarchies), len(sources))
        return [hierarchies[i] for i in range(len(sources))]

    def objects(
        self,
        source: "ImageSource | Hierarchy",
        n: int = 1,
        method: str | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Objects:
        """Return at most `n` objects of an image or of its hierarchy, best first.

        Parameters
        ----------
        source
            Image as in `segment`, or its hierarchy.
        n
            Largest number of objects, from 1. If it is 1, the method "tree" takes all salient regions together as one.
        method
            "tree" (regions that annotators would draw as figure against the background), "tokencut", "deep_spectral",
            "lost", "deepcut" or "deepcut_cc". All but "tree" compare the keys of the model's vision transformer, or
            embeddings without one. If None, "tree" if it was learned, else "tokencut".
        seed
            Seed of deepcut, which optimises a network on the image.
        progress
            ``progress(step, total)`` is called after each step of deepcut.

        Returns
        -------
        Objects
            Disjoint masks, their scores and the saliency map.

        Raises
        ------
        InputError
            If `n` or `method` is out of range, or if a transformer needs an image that the hierarchy does not hold.

        See Also
        --------
        supercuts.objects.discover.discover : The same with features of your own.

        Examples
        --------
        >>> objects = model.objects(h)
        >>> objects.masks.shape, bool(objects.mask[16, 24]), bool(objects.mask[0, 0])
        ((1, 32, 48), True, False)
        """
        h = source if isinstance(source, Hierarchy) else self.segment(source)
        method = method or ("tokencut" if self.figure_ground is None else "tree")
        features = None if method == "tree" else self.leaf_features(h)
        from supercuts.objects.discover import discover  # imports torch

        return discover(h, features, method, n, seed=seed, progress=progress, judge=self.figure_ground)

    def parts(
        self,
        source: "ImageSource | Hierarchy",
        k: int | None = None,
        method: str | None = None,
        n: int = 1,
        seed: int = 0,
        progress: Progress | None = None,
        objects: Objects | None = None,
    ) -> Parts:
        """Return the parts of at most `n` objects of an image or of its hierarchy.

        Parameters
        ----------
        source
            Image as in `segment`, or its hierarchy.
        k
            Number of parts per object, from 1; if None, the method decides.
        method
            "tree" (regions of the tree inside the object), "spectral" or "deepcut"; if None, "tree".
        n, seed
            As in `objects`, which finds the objects first.
        progress
            ``progress(step, total)`` is called after each step of deepcut.
        objects
            Objects to divide; if given, `n` is ignored.

        Returns
        -------
        Parts
            Label map of the parts, and the object of each.

        Raises
        ------
        InputError
            If an argument is out of range, or if `objects` do not fit the image.

        Examples
        --------
        >>> objects = model.objects(h)
        >>> model.parts(h, k=2, objects=objects).object_of.tolist()
        [0, 0]
        """
        h = source if isinstance(source, Hierarchy) else self.segment(source)
        objects_found = objects or self.objects(h, n, seed=seed)
        method = method or "tree"
        features = None if method == "tree" else self.leaf_features(h)
        from supercuts.objects.parts import find_parts  # imports torch

        return find_parts(h, objects_found, features, k, method, seed, progress)

    def leaf_features(self, h: Hierarchy) -> Float32[np.ndarray, "leaves channels"]:
        """Return the features that objects and parts are found from: pooled keys of a transformer, or embeddings.

        Parameters
        ----------
        h
            Hierarchy; it must hold its image if the network is a transformer.

        Returns
        -------
        float32 (N, D)
            One row per leaf.

        Raises
        ------
        InputError
            If the hierarchy holds no image.

        Examples
        --------
        >>> model.leaf_features(h).shape == h.embeddings.shape
        True
        """
        transformer = None if self.network is None else self.network.transformer
        if transformer is None:
            return h.embeddings
        if h._image is None:
            raise InputError("the hierarchy holds no image to compute keys from. Save it with image=True.")
        from supercuts.objects.features import dino_keys  # imports timm

        image = filled(h._image, h._labels >= 0) if h.is_masked else h._image
        return dino_keys(transformer, image).pool(h._labels, h.n_leaves)

    def _segment_one(
        self,
        image: object,
        superpixels: int | None,
        priors: Priors | None,
        refiner: Refiner | None,
        tile: int | None,
        mask: Mask | None,
        bands: Sequence[int] | None,
        options: ReadOptions,
    ) -> Hierarchy:
        refine = None if refiner is None else _refiner(refiner)
        n_superpixels = self._check_superpixels(superpixels)
        scene = read_scene(image, self._channels, bands, mask, options)
        masks = None if priors is None else read_priors(priors, scene.shape, scene.valid, _file_name(image))
        masks = masks if masks is not None and len(masks) else None
        h = segment_scene(scene, self._learned, n_superpixels, self.config, masks, tile)
        return _georeferenced(h if refine is None else refine(h, all_bands(scene)), scene.georeference, image)

    def _segment_together(self, sources: list[ImageSource], n_superpixels: int) -> Iterator[tuple[int, Hierarchy]]:
        batch: list[tuple[int, Scene]] = []
        apart: list[int] = []

        def pixels() -> Iterator[Pixels]:
            for number, source in enumerate(sources):
                scene = read_scene(source, self._channels)
                if scene.is_plain and not is_large(scene.shape):
                    batch.append((number, scene))
                    yield scene.pixels
                else:
                    apart.append(number)

        for i, _, maps in predict_many(pixels(), self.network, self.config.views):
            number, scene = batch[i]
            h = segment_scene(scene, self._learned, n_superpixels, self.config, maps=maps)
            yield number, _georeferenced(h, scene.georeference, sources[number])
        yield from ((number, self.segment(sources[number], n_superpixels)) for number in apart)

    @property
    def _learned(self) -> Learned:
        return Learned(self.network, self.levels, self.affinity, self.gnn, self.figure_ground)

    def _check_superpixels(self, superpixels: int | None) -> int:
        n_superpixels = self.config.superpixels if superpixels is None else superpixels
        check_whole("superpixels", n_superpixels, remedy="Give how many leaves the tree should have.")
        check_in_range("superpixels", n_superpixels, 1, np.inf, remedy="Ask for at least one.")
        return int(n_superpixels)

    @property
    def _channels(self) -> int:
        return 3 if self.network is None else self.network.config.channels


def _refiner(refiner: Refiner) -> Callable[[Hierarchy, np.ndarray], Hierarchy]:
    from supercuts.refine.hierarchy import refine_hierarchy, refiner_config  # imports torch

    settings = refiner_config(refiner)
    return lambda h, image: refine_hierarchy(h, settings, image)


def load(
    model: str | os.PathLike[str] = "compact",
    config: PipelineConfig | None = None,
    *,
    merging: str | None = None,
    views: str | None = None,
    engine: str = "auto",
    device: Device = "cpu",
) -> Model:
    """Return a model from weights in the package or from a file.

    Parameters
    ----------
    model
        "compact", whose weights are in the package, or a .safetensors file of ``supercuts train``. Checkpoints (.pth,
        .pt, .ckpt) of the original SSN_DINO can also be loaded.
    config
        Settings of the pipeline; if None, the defaults for this network.
    merging
        Method that builds the tree: "agglomerative", "spectral" or "gnn"; if None, that of the configuration.
    views
        Number of predictions per image that are averaged: "one", "flip" or "many", which gives the best boundaries but
        takes several times as long; if None, that of the configuration.
    engine
        "torch", "onnx" for ONNX Runtime, which never imports torch, "auto" or "quick". Both of the latter use torch for
        files, GPUs and images of more than 2 megapixels. For other images and the model of the package, "auto" uses the
        faster one: torch on processors with bfloat16 instructions, else ONNX Runtime. "quick" always uses ONNX Runtime,
        which starts seconds earlier, so that it is faster for a few images.
    device
        The device that the network runs on: "cpu", or "cuda" for a GPU.

    Returns
    -------
    Model
        The model, ready to segment images.

    Raises
    ------
    FileFormatError
        If the file does not exist or does not hold a network.
    InputError
        If a name is unknown, if the device does not exist or the engine cannot use it, or if ``merging="gnn"`` and the
        file holds no graph neural network.
    MissingDependencyError
        If ONNX Runtime is not installed, which ``engine="onnx"`` needs.

    References
    ----------
    .. [1] Jampani et al., "Superpixel sampling networks", ECCV 2018.

    Examples
    --------
    >>> model = load("compact", merging="spectral")
    >>> model.config.merging.method, sorted(model.levels)
    ('spectral', ['object', 'part', 'scene'])
    """
    path = weights_path(model)
    network, levels = open_network(path, engine)
    calibration = read_calibration(path)
    config = config or default_config(network)
    if merging is not None:
        check_choice("merging", merging, MERGERS)
        config = config.model_copy(update={"merging": config.merging.model_copy(update={"method": merging})})
    if views is not None:
        check_choice("views", views, VIEWS)
        config = config.model_copy(update={"views": VIEWS[views]})
    affinity, figure_ground = (calibration.of(kind) for kind in ("affinity", "figure_ground"))
    gnn = None
    if config.merging.method == "gnn":
        from supercuts.merging.gnn import EdgeGNN  # imports torch_geometric, which takes seconds

        if not calibration.of("gnn"):
            raise InputError(f"{path} holds no graph neural network. Learn one: supercuts calibrate {path} --gnn.")
        gnn = EdgeGNN.from_arrays(calibration.of("gnn"), calibration.gnn_config)
    loaded = Model(
        network,
        levels,
        config,
        Affinity.from_arrays(affinity) if affinity else None,
        gnn,
        Perceptrons.from_arrays(figure_ground) if figure_ground else None,
    )
    return loaded.to(device) if str(device) != "cpu" else loaded


def segment(image: ImageSource, superpixels: int | None = None, **options: Any) -> Hierarchy:
    """Segment an image by the model "compact", which is loaded once and kept.

    Parameters
    ----------
    image
        A path, PIL image, numpy array or torch tensor, as for `Model.segment`.
    superpixels
        Number of leaves of the tree; if None, 600.
    **options
        Other keywords of `Model.segment`.

    Returns
    -------
    Hierarchy
        The result of ``load("compact").segment(image, superpixels, **options)``.

    Raises
    ------
    InputError
        If an argument is not valid.
    ImageError
        If the image cannot be read.

    Examples
    --------
    >>> segment(np.zeros((32, 48, 3), np.uint8), superpixels=12)
    Hierarchy(32x48, 12 leaves, levels scene ..., object ..., part ...)
    """
    return _default_model().segment(image, superpixels, **options)


@functools.cache
def _default_model() -> Model:
    return load("compact")


def open_network(path: Path, engine: str = "auto") -> tuple[Network, dict[str, float]]:
    """Load a network from a file, to run in the engine that `load` describes; return it and its levels."""
    check_choice("engine", engine, ("auto", "quick", "torch", "onnx"))
    if engine == "onnx":
        from supercuts.networks.onnx_network import load_onnx

        return load_onnx(path)
    if engine != "torch" and path in map(weights_path, EMBEDDED) and find_spec("onnxruntime") is not None:
        from supercuts.networks.onnx_network import open_package_network

        return open_package_network(path, prefers_onnx=engine == "quick" or not will_have_bfloat16())
    from supercuts.networks.files import load_network

    return load_network(path)


def _georeferenced(h: Hierarchy, georeference: Georeference | None, source: object = None) -> Hierarchy:
    """Return the hierarchy with the georeference and the name of the segmented file, if there are any."""
    name = _file_name(source)
    if georeference is None and name is None:
        return h
    return h._with(georeference=georeference or h.georeference, source_name=name or h.source_name)


def _file_name(source: object) -> str | None:
    """Return the file name of a path or PIL image; bytes that are not UTF-8 become the replacement character."""
    path = source if isinstance(source, str | os.PathLike) else getattr(source, "filename", None)
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        return None
    return printable(Path(os.fsdecode(path)).name) or None
