"""The part of the methods on the network, as the plans describe it; of a cascade also its first stage.

Sources: nnunetv2 2.8.1, nnUNetTrainer.py:310; dynamic_network_architectures 0.4.4, architectures/unet.py.
"""

from typing import Any

from .subjects import Subject
from .wording import by, listed, per_stage

# The class, its kind, the argument for its encoder, and what a stage of encoder and of decoder has.
NETWORKS = {
    "PlainConvUNet": ("a U-Net", "n_conv_per_stage", "convolution", "convolution"),
    "ResidualEncoderUNet": ("a U-Net with a residual encoder", "n_blocks_per_stage", "residual block", "convolution"),
    "ResidualUNet": ("a U-Net of residual blocks", "n_blocks_per_stage", "residual block", "residual block"),
}
# What debug.json has in place of the network's class when it is compiled or divided among GPUs.
WRAPPED = ("OptimizedModule", "DistributedDataParallel")
NORMS = {"InstanceNorm": "instance normalisation", "BatchNorm": "batch normalisation"}


def network(subject: Subject) -> str:
    """Class, stages, features, convolutions, patch and batch."""
    planned, built = _described(subject.planned), subject.debug.get("network", "")
    if built not in (*NETWORKS, *WRAPPED, ""):
        found = f"was {built}, which the trainer builds itself"
    elif planned:
        found = f"was {planned}" if subject.is_described else f"was planned as {planned}"
    else:
        return ""
    patch, batch = subject.planned["patch_size"], subject.planned["batch_size"]
    several = f" divided among {subject.record.num_gpus} GPUs" if subject.record.num_gpus > 1 else ""
    own = f" What the trainer {subject.base} does in its own way, also to the network, is not described."
    return (
        f"The {len(patch)}D network {found}. It was trained on patches of {by(patch)} voxels in batches of "
        f"{batch}{several}.{_first_stage(subject)}{'' if subject.is_described else own}"
    )


def _described(planned: dict[str, Any]) -> str:
    architecture = planned.get("architecture") or {}
    name, layers = str(architecture.get("network_class_name", "")).rsplit(".", 1)[-1], architecture.get("arch_kwargs")
    if name not in NETWORKS or not layers:
        return ""
    kind, blocks, encoder, decoder = NETWORKS[name]
    parts = [
        f"{layers['n_stages']} resolution stages of {listed(_every(layers['features_per_stage']))} feature maps",
        f"{_layers_of(layers[blocks], encoder)} per stage of the encoder",
        f"{_layers_of(layers['n_conv_per_stage_decoder'], decoder)} per stage of the decoder",
        f"kernels of {per_stage([by(kernel) for kernel in _every(layers['kernel_sizes'])])}",
    ]
    return f"{kind} ({name}) with {', '.join([*parts, *_layers(layers)])}"


def _layers_of(counts: Any, what: str) -> str:
    told = per_stage(counts)
    return f"{told} {what}{'' if told == '1' else 's'}"


def _every(values: Any) -> list[Any]:
    return values if isinstance(values, list) else [values]


def _layers(layers: dict[str, Any]) -> list[str]:
    """Normalisation, nonlinearity, dropout."""
    named = (str(layers.get(key) or "").rsplit(".", 1)[-1] for key in ("norm_op", "nonlin", "dropout_op"))
    norm, *others = named
    words = next((said for name, said in NORMS.items() if norm.startswith(name)), norm)
    return [part for part in (words, *others) if part]


def _first_stage(subject: Subject) -> str:
    """What a cascade gets from the model before it (nnUNetTrainer.py:136-142)."""
    before = subject.planned.get("previous_stage")
    if not before:
        return ""
    planned = subject.of_configuration(str(before))
    seen = f", trained on patches of {by(planned['patch_size'])} voxels at {by(planned['spacing'])} mm"
    return (
        " As further input channels, one per class, it got the segmentation of the cascade's first stage: "
        f"{before}, {_described(planned)}{seen}."
    )


def parameters(subject: Subject) -> str:
    """How many weights the network has, as counted in the checkpoint."""
    counted = next((one.parameters for one in subject.outcomes.values() if one.parameters), None)
    return f"The network had {counted:,} trainable parameters." if counted else ""
