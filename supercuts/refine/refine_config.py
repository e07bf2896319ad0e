"""Settings of a refinement, under the names of the published programs."""

from typing import Any, Literal

from pydantic import BaseModel, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from supercuts.merging.agglomerative import LinkageConfig


class ObjectiveConfig(BaseModel, frozen=True, extra="forbid"):
    """The weights of L = mu * similarity + nu * (nu_y * L_y + nu_x * L_x) + M * L_max + m * L_min."""

    mu: NonNegativeFloat = 1.0  # cross-entropy of the response with the targets
    nu: NonNegativeFloat = 1.0  # both continuity terms; 0 for method sp unless set
    nu_y: NonNegativeFloat = 1.0  # mean absolute difference of vertical neighbours
    nu_x: NonNegativeFloat = 1.0  # mean absolute difference of horizontal neighbours
    M: NonNegativeFloat = 0.0  # share of the largest class: a high weight breaks up large regions
    m: NonNegativeFloat = 0.0  # 1 - share of the smallest living class: a high weight lets small regions grow
    scribble: NonNegativeFloat = 0.5  # cross-entropy with the scribbles


class NetworkConfig(BaseModel, frozen=True, extra="forbid"):
    """The network: convolutions of 3 x 3 and a last one of 1 x 1."""

    channels: PositiveInt | None = 3  # channels of the images; None: as many as the first image has
    n_features: PositiveInt = 100  # channels of the hidden layers
    n_classes: PositiveInt = 100  # channels of the response; limits the number of labels
    n_convolutions: PositiveInt = 2  # number of 3 x 3 convolutions


class PartitionConfig(BaseModel, frozen=True, extra="forbid"):
    """The superpixels of method sp."""

    method: Literal["ssn", "slic", "felzenszwalb"] = "ssn"  # ssn: the leaves of supercuts.load(model)
    model: str = "compact"
    n_segments: PositiveInt = 1000  # for ssn and slic; the 2018 program uses 10000
    compactness: PositiveFloat = 10.0  # for slic; the 2018 program uses 100
    scale: PositiveFloat = 10.0  # for felzenszwalb, like the next two
    sigma: NonNegativeFloat = 0.8
    min_size: PositiveInt = 10


class PieceLinkageConfig(LinkageConfig, frozen=True, extra="forbid"):
    """Weights of the dissimilarity of the pieces that become leaves of a refined hierarchy."""

    # boundary: altitudes of the first tree; embedding: mean class probabilities, alike where the network is confused
    color: NonNegativeFloat = 0.1
    embedding: NonNegativeFloat = 1.0
    small_exponent: NonNegativeFloat = 0.5
    small_area: NonNegativeFloat = 0.005


class PreprocessConfig(BaseModel, frozen=True, extra="forbid"):
    """Preprocessing steps of an image, applied in this order; all are off by default."""

    # top, bottom, left, right: a micrograph's bar is at the bottom
    crop_px: tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt, NonNegativeInt] = (0, 0, 0, 0)
    median_px: NonNegativeInt = 0  # side of the window of a median blur
    size: tuple[PositiveInt, PositiveInt] | None = None  # height, width to resize to
    multiple: PositiveInt = 1  # height and width are reduced to multiples of this
    clahe_clip: float = Field(default=0.0, ge=0, le=1)  # clip limit of adaptive histogram equalisation; 0: none
    clahe_tiles: PositiveInt = 8  # number of tiles in each direction


class RefineConfig(ObjectiveConfig, NetworkConfig, frozen=True, extra="forbid"):
    """Settings of a refinement; the defaults are those published for ST, except the seed."""

    method: Literal["sp", "st"] = "st"
    epochs: PositiveInt = 1000  # passes over the images; for a single image, steps
    updates: PositiveInt = 1  # steps per batch; the program for reference images uses 1000
    batch_size: PositiveInt = 1  # images per step, of any sizes
    min_classes: NonNegativeInt = 3  # stop once no image has more labels; 0: never; with scribbles: their class count
    learning_rate: PositiveFloat = 0.1
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: NonNegativeFloat = 0.0
    initial_regions: NonNegativeInt = (
        0  # number of regions of the cut used as initial labels, at most n_classes; 0: no initial labels
    )
    initial_steps: NonNegativeInt = 20  # steps with the initial labels as targets, if there are any
    half_steps: NonNegativeInt = 0  # first steps at half the image size, in a quarter of the time
    # statistics that normalise an image for labelling: its own, as published, or those averaged in training
    statistics: Literal["batch", "running"] = "batch"
    snap: bool = True  # method sp: a final vote within superpixels makes labels constant there
    connected: bool = False  # each connected piece of a class gets its own label
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # convolution precision; auto: bfloat16 if it is fast
    partition: PartitionConfig = PartitionConfig()
    linkage: PieceLinkageConfig = PieceLinkageConfig()
    preprocess: PreprocessConfig = PreprocessConfig()
    seed: NonNegativeInt = 0

    @model_validator(mode="before")
    @classmethod
    def _sp_has_no_continuity(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("method") == "sp":
            return {"nu": 0.0, **values}
        return values

    @model_validator(mode="after")
    def _has_a_loss(self) -> "RefineConfig":
        if self.mu == 0 and self.scribble == 0:
            raise ValueError("mu and scribble are both 0, so nothing determines the labels: set one above 0")
        return self


# default settings of the command: few steps, starting from a cut of our hierarchy
OURS = RefineConfig(
    method="sp",
    n_features=32,
    initial_regions=100,
    initial_steps=40,
    half_steps=20,
    epochs=40,
    min_classes=0,
    connected=True,
)
