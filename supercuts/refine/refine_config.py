"""Settings of a refinement, under the names of the published programs."""

from typing import Any, Literal

from pydantic import BaseModel, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator


class ObjectiveConfig(BaseModel, frozen=True, extra="forbid"):
    """The weights of L = mu * similarity + nu * (nu_y * L_y + nu_x * L_x) + M * L_max + m * L_min."""

    mu: NonNegativeFloat = 1.0  # cross-entropy of the response with the targets
    nu: NonNegativeFloat = 1.0  # of both continuity terms; method sp: 0 unless it is set
    nu_y: NonNegativeFloat = 1.0  # mean absolute difference of vertical neighbours
    nu_x: NonNegativeFloat = 1.0  # and of horizontal ones
    M: NonNegativeFloat = 0.0  # share of the largest class: a high weight breaks up large regions
    m: NonNegativeFloat = 0.0  # 1 - share of the smallest living class: a high weight lets small regions grow
    scribble: NonNegativeFloat = 0.5  # cross-entropy with the scribbles


class NetworkConfig(BaseModel, frozen=True, extra="forbid"):
    """The network: convolutions of 3 x 3 and a last one of 1 x 1."""

    channels: PositiveInt | None = 3  # of the images; None: as many as the first image has
    n_features: PositiveInt = 100  # channels of the hidden layers
    n_classes: PositiveInt = 100  # channels of the response: labels are at most so many
    n_convolutions: PositiveInt = 2  # of 3 x 3


class PartitionConfig(BaseModel, frozen=True, extra="forbid"):
    """The superpixels of method sp."""

    method: Literal["ssn", "slic", "felzenszwalb"] = "ssn"  # ssn: the leaves of supercuts.load(model)
    model: str = "compact"
    n_segments: PositiveInt = 1000  # of ssn and slic; the 2018 program: 10000
    compactness: PositiveFloat = 10.0  # of slic; the 2018 program: 100
    scale: PositiveFloat = 10.0  # of felzenszwalb, as are the next two
    sigma: NonNegativeFloat = 0.8
    min_size: PositiveInt = 10


class PreprocessConfig(BaseModel, frozen=True, extra="forbid"):
    """What is done to an image first, in this order; all of it is off unless set."""

    # top, bottom, left, right: a micrograph's bar is at the bottom
    crop_px: tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt, NonNegativeInt] = (0, 0, 0, 0)
    median_px: NonNegativeInt = 0  # side of the window of a median blur
    size: tuple[PositiveInt, PositiveInt] | None = None  # height, width to resize to
    multiple: PositiveInt = 1  # height and width are brought down to multiples of this
    clahe_clip: float = Field(default=0.0, ge=0, le=1)  # clip limit of adaptive histogram equalisation; 0: none
    clahe_tiles: PositiveInt = 8  # in each direction


class RefineConfig(ObjectiveConfig, NetworkConfig, frozen=True, extra="forbid"):
    """A refinement; the defaults are those published for ST, but for the seed."""

    method: Literal["sp", "st"] = "st"
    epochs: PositiveInt = 1000  # passes over the images: of a single image, steps
    updates: PositiveInt = 1  # steps on a batch before the next; the program for reference images: 1000
    batch_size: PositiveInt = 1  # images a step, of any sizes
    min_classes: NonNegativeInt = 3  # stop when no image has more labels; 0: never. Scribbles: their number of classes
    learning_rate: PositiveFloat = 0.1
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: NonNegativeFloat = 0.0
    initial_regions: NonNegativeInt = (
        0  # initial labels: a cut of our hierarchy into so many, or n_classes if that is less; 0: none
    )
    initial_steps: NonNegativeInt = 20  # steps whose targets are the initial labels, where there are any
    half_steps: NonNegativeInt = 0  # first steps that see the image at half its size, for a quarter of the time
    # what normalises an image to be labelled: its own statistics, as published, or those averaged in training
    statistics: Literal["batch", "running"] = "batch"
    snap: bool = True  # method sp: labels are voted within superpixels one last time, so they are constant there
    connected: bool = False  # each connected piece of a class is a label of its own
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # of the convolutions; auto: bfloat16 if it is fast
    partition: PartitionConfig = PartitionConfig()
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
            raise ValueError("mu and scribble are both 0: nothing says what the labels are; set one above 0")
        return self


# what the command does unless told otherwise: from a cut of our hierarchy, few steps
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
