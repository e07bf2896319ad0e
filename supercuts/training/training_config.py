"""Configuration of a training run: one frozen model per section of the YAML file."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from supercuts.networks.ssn_config import SSNConfig


def _ascending(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError("give low before high")
    return bounds


FloatRange = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_ascending)]
IntRange = Annotated[tuple[PositiveInt, PositiveInt], AfterValidator(_ascending)]


class DataConfig(BaseModel, frozen=True, extra="forbid"):
    """Training images, and how crops are drawn from them."""

    folder: Path | None = None  # your own images and labels (docs/your_own_images.md); if None, BSDS500
    val_fraction: float = Field(default=0.1, gt=0, lt=1)  # share of `folder` if it lacks images/train and images/val
    root: Path | None = None  # folder that holds BSDS500; None: the environment variable SUPERCUTS_DATA, else ./data
    split: Literal["train", "val", "train+val"] = "train+val"  # the test split is for reporting only
    crop_px: PositiveInt = 304  # side of the square crops
    scale: FloatRange = (0.6, 1.7)  # range of the random enlargement
    rotation_deg: NonNegativeFloat = 180.0  # rotations are uniform in -rotation..rotation
    boundary: Literal["share", "annotator"] = "share"  # target: share of all annotators, or one random annotator
    color_jitter: NonNegativeFloat = 0.3  # strength of random brightness, contrast, saturation, gamma
    workers: NonNegativeInt = 1  # processes that prepare samples

    @model_validator(mode="after")
    def _is_one_data_set(self) -> "DataConfig":
        if self.folder is not None and self.root is not None:
            raise ValueError("give folder (your own images) or root (the folder with BSDS500), not both")
        return self


class LossConfig(BaseModel, frozen=True, extra="forbid"):
    """Weights of the loss terms; reconstruction and compactness follow Jampani et al., with an explicit ratio."""

    boundary: NonNegativeFloat = 1.0  # class-balanced cross-entropy on annotated boundaries
    reconstruction: NonNegativeFloat = 2.0  # cross-entropy of labels reconstructed from soft superpixels
    compactness: NonNegativeFloat = 0.1  # squared distance to the superpixel's centroid, in squared cell sides
    ssn_crop_px: PositiveInt = 160  # side of the part of the crop on which soft superpixels are computed
    ssn_cells: IntRange = (40, 160)  # range of the random number of cells in that part
    ssn_iterations: PositiveInt = 4
    # the fields below apply to networks with region_channels
    strength: NonNegativeFloat = 1.0  # cross-entropy on the share of annotators who draw a boundary nearby
    pairs: NonNegativeFloat = 0.5  # cross-entropy for whether two pixels belong to the same region
    n_pairs: PositiveInt = 4096  # pairs per crop
    pair_distance_px: FloatRange = (4.0, 150.0)


class ValidationConfig(BaseModel, frozen=True, extra="forbid"):
    """Validation of the averaged weights during training, never on training images."""

    every_steps: PositiveInt | None = 500  # steps between validations; None disables them
    superpixels: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (200, 600)  # the mean ASA picks the weights
    images: PositiveInt | None = None  # number of images, from the start of the validation split; None: all
    pictures: NonNegativeInt = 4  # images drawn with their superpixels at each validation
    patience: PositiveInt | None = None  # number of validations without a better ASA before stopping; None: never stop


class TrainConfig(BaseModel, frozen=True, extra="forbid"):
    """A training run of an SSN."""

    out: Path  # folder of the run: checkpoints, logs, model.safetensors, resolved config
    model: SSNConfig = SSNConfig()
    data: DataConfig = DataConfig()
    loss: LossConfig = LossConfig()
    validation: ValidationConfig = ValidationConfig()
    init: Path | None = None  # network of `supercuts train` to start from, settings included; None: a new one
    # source of a pretrained backbone's weights: timm's hub, none, a file, or an installed package that ships one
    backbone_weights: Literal["hub", "random"] | Path = "hub"
    backbone_lr_scale: PositiveFloat = 0.1  # learning rate of a fine-tuned backbone, as a multiple of learning_rate
    max_steps: PositiveInt = 6000
    batch_size: PositiveInt = 6  # crops per step, over all processes and accumulated parts
    accumulate: PositiveInt = 1  # number of parts a batch is processed in, to save memory
    learning_rate: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 1e-4
    warmup_steps: NonNegativeInt = 200
    ema_decay: float = Field(0.998, ge=0, lt=1)  # decay of the averaged weights, the ones saved
    precision: Literal["auto", "bf16-mixed", "16-mixed", "32-true"] = "auto"  # auto: bf16-mixed where it is fast
    compile: bool = False  # use torch.compile: costs a minute at the start, then speeds up steps, mostly on GPUs
    checkpoint_steps: PositiveInt = 200
    log_steps: PositiveInt = 20
    seed: NonNegativeInt = 0
