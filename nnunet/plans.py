"""What nnU-Net's plans and dataset.json may hold: the lists, patterns and ranges that a stranger's are judged by.

nnU-Net imports, looks up and calls what plans name (nnunetv2 2.8.1, utilities/get_network_from_plans.py:9-33 and
plans_handling/plans_handler.py), and makes paths of other names in them. So every class comes from a closed list
of what nnU-Net and PyTorch offer, every name is a plain file name, every number has a range. Keys that are not here
are left out; arguments of the network and of resampling are refused, as leaving them out would change what they do.
What is missing is nnU-Net's to say.
"""

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

# PlainConvUNet and ResEnc presets have 20 to 150 million weights; a billion fill 4 GB before the first step.
MOST_WEIGHTS = 1_000_000_000
LARGEST_PATCH = 1 << 30  # voxels
# Beside the preprocessed cases, and nnU-Net empties the folder that data_identifier names.
TAKEN = ("gt_segmentations",)


def _layers(module: str, *names: str) -> tuple[str, ...]:
    """PyTorch's layers under both of the names that plans have for them."""
    return tuple(f"{prefix}.{name}" for prefix in ("torch.nn", f"torch.nn.modules.{module}") for name in names)


_ARCHITECTURES = "dynamic_network_architectures.architectures"
NETWORKS = (
    *(f"{_ARCHITECTURES}.unet.{name}" for name in ("PlainConvUNet", "ResidualEncoderUNet", "ResidualUNet")),
    # its module before version 0.3; nnU-Net finds it by its class name
    f"{_ARCHITECTURES}.residual_unet.ResidualEncoderUNet",
)
# Networks that plans for a checkpoint of nnssl name without arguments; their size is nnU-Net's own (main branch of July
# 2026, utilities/get_network_via_name.py).
ADAPTED_NETWORKS = ("ResEncL", "PrimusS", "PrimusB", "PrimusM", "PrimusL")
CONVOLUTIONS = _layers("conv", "Conv1d", "Conv2d", "Conv3d")
NORMS = (
    *_layers("instancenorm", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"),
    *_layers("batchnorm", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"),
    *_layers("normalization", "GroupNorm", "LayerNorm"),
    *_layers("linear", "Identity"),
)
DROPOUTS = _layers("dropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout")
NONLINEARITIES = (
    *_layers("activation", "LeakyReLU", "ReLU", "ReLU6", "PReLU", "RReLU", "ELU", "SELU", "CELU", "GELU", "SiLU"),
    *_layers("activation", "Mish", "Hardswish", "Softplus", "Tanh", "Sigmoid"),
    *_layers("linear", "Identity"),
)
BLOCKS = tuple(
    f"dynamic_network_architectures.building_blocks.residual.{name}" for name in ("BasicBlockD", "BottleneckD")
)
READERS = (
    *("SimpleITKIO", "SimpleITKIOWithReorient", "NibabelIO", "NibabelIOWithReorient", "NaturalImage2DIO", "Tiff3DIO"),
)
NORMALIZATIONS = (
    *("ZScoreNormalization", "CTNormalization", "NoNormalization", "RescaleTo01Normalization", "RGBTo01Normalization"),
)
RESAMPLINGS = (
    *("resample_data_or_seg_to_shape", "resample_data_or_seg_to_spacing", "resample_data_or_seg"),
    *("resample_torch_simple", "resample_torch_fornnunet", "no_resampling_hack"),
)
PREPROCESSORS = ("DefaultPreprocessor",)
LABEL_MANAGERS = ("LabelManager",)
PLANNERS = (
    *(
        "ExperimentPlanner",
        "ResEncUNetPlanner",
        "nnUNetPlannerResEncM",
        "nnUNetPlannerResEncL",
        "nnUNetPlannerResEncXL",
    ),
    *("nnUNetPlanner_torchres", "nnUNetPlannerResEncL_torchres", "nnUNetPlannerResEncL_torchres_sepz"),
    "nnUNetPlannerResEncL_noResampling",
)


def _among(names: tuple[str, ...]) -> BeforeValidator:
    return BeforeValidator(lambda value: _listed(value, names))


def _listed(value: object, names: tuple[str, ...]) -> object:
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"nnU-Net would import and call it, so it must be one of {', '.join(names)}")
    return value


def _known_planner(value: object) -> object:
    return value if isinstance(value, str) and value in PLANNERS else None


def _free(value: object) -> object:
    if isinstance(value, str) and value in TAKEN:
        raise ValueError("nnU-Net keeps something else in a folder of this name")
    return value


def _seen(value: str) -> str:
    """Refuse invisible characters. Dataset names may have letters of all languages."""
    if not value.isprintable():
        raise ValueError("it has signs that are not seen")
    return value


def _to(most: int, least: int = 1) -> Any:
    return Field(strict=True, ge=least, le=most)


def _at_most(items: int) -> Any:
    return Field(max_length=items)


Network = Annotated[str, _among((*NETWORKS, *ADAPTED_NETWORKS))]
Convolution = Annotated[str, _among(CONVOLUTIONS)]
Norm = Annotated[str, _among(NORMS)]
Dropout = Annotated[str, _among(DROPOUTS)]
Nonlinearity = Annotated[str, _among(NONLINEARITIES)]
Block = Annotated[str, _among(BLOCKS)]
Reader = Annotated[str, _among(READERS)]
Normalization = Annotated[str, _among(NORMALIZATIONS)]
ResamplingFunction = Annotated[str, _among(RESAMPLINGS)]

Word = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=120)]
Argument = Annotated[str, Field(strict=True, pattern=r"^[a-z][a-z0-9_]*$", max_length=60)]
Digits = Annotated[str, Field(strict=True, pattern=r"^\d{1,4}$")]
DatasetName = Annotated[
    str, Field(strict=True, pattern=r"^Dataset\d{3}(_[^/\\]*)?$", max_length=120), AfterValidator(_seen)
]
Text = Annotated[str, Field(strict=True, max_length=500)]
FileName = Annotated[str, Field(strict=True, max_length=4096)]
Yes = Annotated[bool, Field(strict=True)]
Number = (
    Annotated[int, _to(10**12, -(10**12))]
    | Annotated[float, Field(strict=True, ge=-1e12, le=1e12, allow_inf_nan=False)]
)
Measured = Number | Annotated[float, Field(strict=True)] | None  # nnU-Net measures NaN where there are no voxels
Spacing = Annotated[float, Field(strict=True, gt=0, le=1e6, allow_inf_nan=False)]
Value = Annotated[int, _to(65535, 0)]
Width = Annotated[int, _to(8192)]
Layers = Annotated[int, _to(64)]
Side = Annotated[int, _to(31)]

Widths = Width | Annotated[list[Width], _at_most(16)]
PerStage = Layers | Annotated[list[Layers], _at_most(16)]
PerStageAndAxis = Side | Annotated[list[Side | Annotated[list[Side], _at_most(3)]], _at_most(16)]
PerAxis = Annotated[list[Number], _at_most(3)]
Spacings = Annotated[list[Spacing], _at_most(3)]
Axes = Annotated[list[Annotated[int, _to(2, 0)]], _at_most(3)]
Arguments = Annotated[dict[Argument, Yes | Number | Word | None], _at_most(20)]  # e.g. approximate="tanh"
Imported = Annotated[list[Literal["conv_op", "norm_op", "dropout_op", "nonlin", "block"]], _at_most(5)]
Layer = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$", max_length=200)]
Channels = Annotated[int, _to(1000)]
Patch = Annotated[list[Annotated[int, _to(65536)]], _at_most(3)]
Intensities = dict[Digits, dict[Argument, Measured]]


class Judged(BaseModel):
    """A model that leaves out undeclared keys."""

    model_config = ConfigDict(extra="ignore", populate_by_name=False)


class Complete(BaseModel):
    """A model that refuses undeclared keys: the value would mean something else without them."""

    model_config = ConfigDict(extra="forbid", populate_by_name=False)


class NetworkArguments(Complete):
    """The arguments of the network's class (dynamic_network_architectures 0.4.4, architectures/unet.py)."""

    n_stages: Annotated[int, _to(16)] = 1
    features_per_stage: Widths = 1
    conv_op: Convolution | None = None
    kernel_sizes: PerStageAndAxis = 1
    strides: PerStageAndAxis = 1
    n_conv_per_stage: PerStage = 1
    n_blocks_per_stage: PerStage = 1
    n_conv_per_stage_decoder: PerStage = 1
    conv_bias: Yes = False
    norm_op: Norm | None = None
    norm_op_kwargs: Arguments | None = None
    dropout_op: Dropout | None = None
    dropout_op_kwargs: Arguments | None = None
    nonlin: Nonlinearity | None = None
    nonlin_kwargs: Arguments | None = None
    deep_supervision: Yes = False
    nonlin_first: Yes = False
    block: Block | None = None
    bottleneck_channels: Widths | None = None
    stem_channels: Width | None = None

    @model_validator(mode="after")
    def _of_a_size_that_can_be_built(self) -> "NetworkArguments":
        weights = self._at_least()
        if weights > MOST_WEIGHTS:
            raise ValueError(f"the network would have more than {weights:,} weights")
        return self

    def _at_least(self) -> int:
        """A lower bound of the network's weights: those of the encoder's convolutions. The decoder has about as many
        again."""
        features = _each(self.features_per_stage, self.n_stages)
        counts = _each(self.n_blocks_per_stage, self.n_stages), _each(self.n_conv_per_stage, self.n_stages)
        before, found = 1, 0
        for width, kernel, blocks, layers in zip(
            features, _each(self.kernel_sizes, self.n_stages), *counts, strict=False
        ):
            sides = kernel if isinstance(kernel, list) else [kernel] * 3
            found += math.prod(sides) * (before * width + (max(blocks, layers) - 1) * width * width)
            before = width
        return found


def _each(value: Any, stages: int) -> list[Any]:
    return value if isinstance(value, list) else [value] * stages


class Architecture(Judged):
    """The network of a configuration."""

    network_class_name: Network | None = None
    arch_kwargs: NetworkArguments | None = Field(default_factory=NetworkArguments)
    imported: Imported | None = Field(default_factory=list, alias="_kw_requires_import")


class Resampling(Complete):
    """Arguments of nnU-Net's resampling functions (preprocessing/resampling/)."""

    is_seg: Yes = False
    order: Annotated[int, _to(5, 0)] = 3
    order_z: Annotated[int, _to(5, 0)] = 0
    force_separate_z: Yes | None = None
    separate_z_anisotropy_threshold: Number = 3
    memefficient_seg_resampling: Yes = False
    mode: Literal["linear", "nearest", "nearest-exact", "bilinear", "trilinear", "bicubic", "area"] = "linear"
    aniso_axis_mode: Literal["linear", "nearest", "nearest-exact"] = "nearest-exact"
    num_threads: Layers = 4


class Configuration(Judged):
    """One configuration of the plans, as nnU-Net 2.3 and newer and, at the end, as older ones write it."""

    inherits_from: Word | None = None
    data_identifier: Annotated[Word, BeforeValidator(_free)] | None = None
    preprocessor_name: Annotated[str, _among(PREPROCESSORS)] = "DefaultPreprocessor"
    batch_size: Annotated[int, _to(100_000)] = 2
    patch_size: Patch = Field(default_factory=list)
    median_image_size_in_voxels: PerAxis = Field(default_factory=list)
    spacing: Spacings = Field(default_factory=list)
    normalization_schemes: Annotated[list[Normalization], _at_most(1000)] = Field(default_factory=list)
    use_mask_for_norm: Annotated[list[Yes], _at_most(1000)] = Field(default_factory=list)
    resampling_fn_data: ResamplingFunction = ""
    resampling_fn_seg: ResamplingFunction = ""
    resampling_fn_probabilities: ResamplingFunction = ""
    resampling_fn_data_kwargs: Resampling = Field(default_factory=Resampling)
    resampling_fn_seg_kwargs: Resampling = Field(default_factory=Resampling)
    resampling_fn_probabilities_kwargs: Resampling = Field(default_factory=Resampling)
    architecture: Architecture | None = None
    batch_dice: Yes | Annotated[int, _to(1, 0)] = False
    next_stage: Word | Annotated[list[Word], _at_most(10)] | None = None
    previous_stage: Word | None = None
    UNet_class_name: Literal["PlainConvUNet", "ResidualEncoderUNet"] | None = None
    UNet_base_num_features: Width = 32
    unet_max_num_features: Width = 512
    n_conv_per_stage_encoder: Annotated[list[Layers], _at_most(16)] = Field(default_factory=list)
    n_conv_per_stage_decoder: Annotated[list[Layers], _at_most(16)] = Field(default_factory=list)
    num_pool_per_axis: Annotated[list[Annotated[int, _to(16, 0)]], _at_most(3)] = Field(default_factory=list)
    pool_op_kernel_sizes: PerStageAndAxis = Field(default_factory=list)
    conv_kernel_sizes: PerStageAndAxis = Field(default_factory=list)

    @model_validator(mode="after")
    def _with_a_patch_that_can_be_held(self) -> "Configuration":
        if math.prod(self.patch_size) > LARGEST_PATCH:
            raise ValueError(f"a patch of {' x '.join(map(str, self.patch_size))} voxels fits no memory")
        return self


class Encoder(Judged):
    """Where a checkpoint of nnssl has its encoder."""

    key_to_encoder: Layer
    key_to_stem: Layer
    keys_to_in_proj: Annotated[list[Layer], Field(min_length=1, max_length=10)]
    key_to_lpe: Layer | None


class PretrainInfo(Encoder):
    """What plans for a checkpoint of nnssl tell of it (nnU-Net's main branch, experiment_planning/like_nnssl.py)."""

    checkpoint_path: Annotated[FileName, AfterValidator(_seen)] | None = None
    checkpoint_name: Text = ""
    pt_num_in_channels: Channels
    pt_used_patchsize: Patch
    pt_recommended_downstream_patchsize: Patch
    citations: Annotated[list[JsonValue], _at_most(100)] = Field(default_factory=list)  # only printed


class Adapted(Judged):
    """The network of an adaptation plan."""

    arch_class_name: Network
    arch_kwargs: NetworkArguments | None
    arch_kwargs_requiring_import: Imported | None


class Pretraining(Judged):
    """How it was pretrained; where there is no spacing, the images kept their own."""

    spacing: Annotated[Spacings, Field(min_length=3)] | None
    patch_size: Patch


class PretrainPlan(Judged):
    """The plans of the pretraining."""

    configurations: Annotated[dict[Text, Pretraining], Field(min_length=1, max_length=100)]


class AdaptationPlan(Encoder):
    """`nnssl_adaptation_plan` of a checkpoint (nnU-Net's main branch, experiment_planning/like_nnssl.py)."""

    architecture_plans: Adapted
    pretrain_plan: PretrainPlan
    pretrain_num_input_channels: Channels
    recommended_downstream_patchsize: Annotated[Patch, Field(min_length=3)]
    pretrain_patch_size: Patch | None = None


class Plans(Judged):
    """A plans file."""

    dataset_name: DatasetName = ""
    plans_name: Word = ""
    original_median_spacing_after_transp: Spacings = Field(default_factory=list)
    original_median_shape_after_transp: PerAxis = Field(default_factory=list)
    image_reader_writer: Reader = ""
    transpose_forward: Axes = Field(default_factory=list)
    transpose_backward: Axes = Field(default_factory=list)
    configurations: Annotated[dict[Word, Configuration], _at_most(100)]
    # The name of the planner. Nothing is looked up by it later, so the name of an unknown planner is left out, not
    # refused.
    experiment_planner_used: Annotated[str | None, BeforeValidator(_known_planner)] = None
    label_manager: Annotated[str, _among(LABEL_MANAGERS)] = "LabelManager"
    pretrain_info: PretrainInfo | None = None
    foreground_intensity_properties_per_channel: Intensities = Field(default_factory=dict)
    foreground_intensity_properties_by_modality: Intensities = Field(default_factory=dict)

    @model_validator(mode="after")
    def _inherited_from_what_is_there(self) -> "Plans":
        for name in self.configurations:
            line = [name]
            while (parent := self.configurations[line[-1]].inherits_from) is not None:
                if parent not in self.configurations or parent in line:
                    raise ValueError(
                        f"configuration {name} inherits from {parent}, which is not there or inherits from it"
                    )
                line.append(parent)
        return self


class ListedCase(Judged):
    """A case's files, as dataset.json lists them."""

    images: Annotated[list[FileName], _at_most(1000)]
    label: FileName = ""


Whole = Annotated[float, Field(strict=True, ge=0, le=65535, multiple_of=1)]  # some tools write every number as 1.0
Label = Value | Whole | Annotated[list[Value | Whole], Field(min_length=1, max_length=1000)]


class DatasetDescription(Judged):
    """dataset.json of nnU-Net v2 (documentation/dataset_format.md), and what older ones and people add to it."""

    channel_names: Annotated[dict[Digits, Text | Number | None], Field(min_length=1, max_length=1000)] = Field(
        default_factory=dict
    )
    modality: Annotated[dict[Digits, Text], Field(max_length=1000)] = Field(default_factory=dict)
    labels: Annotated[dict[Text, Label], Field(max_length=10_000)] = Field(default_factory=dict)
    regions_class_order: Annotated[list[Value | Whole], Field(max_length=10_000)] | None = None
    file_ending: Annotated[str, Field(strict=True, pattern=r"^(\.[A-Za-z0-9]{1,10}){1,3}$")] = ""
    numTraining: Any = None
    overwrite_image_reader_writer: Annotated[str, _among((*READERS, "None"))] | None = None
    dataset: dict[FileName, ListedCase] | None = Field(default_factory=dict)
    name: JsonValue = None
    description: JsonValue = None
    reference: JsonValue = None
    licence: JsonValue = None
    license: JsonValue = None
    release: JsonValue = None
    tensorImageSize: JsonValue = None
