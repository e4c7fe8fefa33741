"""Go on from a checkpoint of nnssl (self-supervised, as those of OpenMind), whose encoder alone is of use.

nnU-Net's main branch does it (like_nnssl.py, pretrainedTrainer.py of July 2026); it gets a new file that holds only
tensors and the checked adaptation plan, never the checkpoint itself.
"""

import inspect
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..calls import argument
from ..nnunet.safe_plans import judged_adaptation, read_plans
from ..texts import SAID_LENGTH, clean, some
from . import nnunet_seam
from .nnunet_seam import PRETRAINED
from .stage import StageFailure
from .weights import SHOWN_LAYERS, bare, read_checkpoint, tensors_in

ADAPTATION = "nnssl_adaptation_plan"
# What nnU-Net raises where the tensors are not those that the adaptation plan tells of.
MISFITS = (LookupError, AttributeError, AssertionError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class Pretrained:
    """A checkpoint of nnssl, read as data."""

    name: str
    tensors: dict[str, Any]
    plan: dict[str, Any]
    citations: list[Any]

    @property
    def patch(self) -> list[int]:
        """Of the pretraining, in voxels."""
        own = next(iter(self.plan["pretrain_plan"]["configurations"].values()))["patch_size"]
        return list(self.plan.get("pretrain_patch_size") or own)

    @contextmanager
    def as_plain_file(self) -> Iterator[str]:
        """A file for nnU-Net to read, which is removed afterwards."""
        import torch

        content = {"network_weights": self.tensors, ADAPTATION: self.plan, "citations": self.citations}
        with tempfile.TemporaryDirectory() as folder:
            torch.save(content, f"{folder}/weights.pth")
            yield f"{folder}/weights.pth"


def read_pretrained(path: Path) -> Pretrained | None:
    """The checkpoint, or None where it is none of nnssl.

    Raises:
        StageFailure: it cannot be read as data.
        Refused: its adaptation plan is not as nnssl writes it, or is for a network that nnU-Net does not build.
    """
    content = read_checkpoint(path)
    if ADAPTATION not in content:
        return None
    as_json = (json.dumps(content.get(key), default=str, skipkeys=True) for key in (ADAPTATION, "citations"))
    plan, cited = map(json.loads, as_json)
    judged = judged_adaptation(plan, f"the adaptation plan in {path.name}")
    return Pretrained(path.name, tensors_in(content), judged, cited if isinstance(cited, list) else [])


def refuse_misfit(found: Pretrained, configuration: dict[str, Any], channels: int) -> None:
    """Build the network of the plans without a trainer, and load the encoder, before anything takes long.

    Raises:
        StageFailure: the checkpoint's tensors do not fit the network that its adaptation plan names.
    """
    from nnunetv2.training.nnUNetTrainer.pretraining.pretrainedTrainer import PretrainedTrainer

    given, patch = configuration["architecture"], configuration["patch_size"]
    names = ("network_class_name", "arch_kwargs", "_kw_requires_import")
    try:
        network = PretrainedTrainer.build_network_architecture(
            *(given[name] for name in names), patch, channels, 2, enable_deep_supervision=False
        )
        load_encoder(network, found, patch, channels)
    except MISFITS as error:
        if "allocate memory" in str(error):  # of the machine
            raise
        raise StageFailure(
            f"the tensors in {found.name} do not fit the network that its adaptation plan names",
            clean(f"{given['network_class_name']}, {channels} channels: {type(error).__name__}: {error}", SAID_LENGTH),
            f"Use a checkpoint as it was published, or leave {argument(pretrained_weights=None)} out.",
        ) from error


def load_encoder(network: Any, found: Pretrained, patch: list[int], channels: int) -> str:
    """Initialise the encoder; the rest of the network stays random. Returns what was transferred, counted in the
    network itself."""
    from nnunetv2.training.nnUNetTrainer.pretraining.pretrainedTrainer import PretrainedTrainer

    plan = found.plan
    with found.as_plain_file() as file:
        PretrainedTrainer.load_pretrained_weights(
            network,
            pretrained_weights_path=file,
            pt_input_channels=plan["pretrain_num_input_channels"],
            downstream_input_channels=channels,
            pt_input_patchsize=found.patch,
            downstream_input_patchsize=patch,
            pt_key_to_encoder=plan["key_to_encoder"],
            pt_key_to_stem=plan["key_to_stem"],
            pt_keys_to_in_proj=tuple(plan["keys_to_in_proj"]),
            pt_key_to_lpe=plan.get("key_to_lpe"),
        )
    return _told(network, found)


def load_adapted(trainer: Any, path: Path) -> str:
    """As `load_weights`, for a trainer of nnU-Net's for such checkpoints.

    Raises:
        StageFailure, Refused: as `read_pretrained`, or the checkpoint is none of nnssl.
    """
    found = read_pretrained(path)
    if found is None:
        raise StageFailure(
            f"{type(trainer).__name__} starts from a checkpoint of nnssl",
            f"{path.name} has no {ADAPTATION}",
            f"Use another {argument(trainer=None)}, or such a checkpoint.",
        )
    if not trainer.was_initialized:
        trainer.initialize()
    told = load_encoder(
        bare(trainer.network), found, list(trainer.configuration_manager.patch_size), trainer.num_input_channels
    )
    trainer.print_citations()
    return told


def adapts(trainer: Any) -> bool:
    """Whether a trainer is one of nnU-Net's for checkpoints of nnssl, or derived from one."""
    return hasattr(trainer, "use_pretrained_weights")


def leave_loading_to_us(trainer: Any) -> None:
    """Such a trainer would read the file that its plans name, also for a resume; `load_adapted` does it."""
    if adapts(trainer):
        nnunet_seam.write(trainer, f"{PRETRAINED}.use_pretrained_weights", False)


def refuse_without_weights(trainer: Any) -> None:
    """Refuse to begin at random with the learning rate of an encoder that has learnt.

    Raises:
        StageFailure: the plans name a checkpoint, and this training was to begin without it.
    """
    weights = trainer.adaptation_info.get("checkpoint_path") if adapts(trainer) else None
    if weights is not None:
        raise StageFailure(
            "this fold would begin without the pretrained weights that its plans are for",
            clean(str(weights), SAID_LENGTH),
            f"Train it with {argument(pretrained_weights=str(weights))}.",
        )


def telling_the_patch(model: Path) -> Callable[[Callable[[str], Any]], Callable[[str], Any]]:
    """Let nnU-Net's predictor build the network of such a trainer, which asks for the patch.

    The predictor of the main branch does not give it (inference/predict_from_raw_data.py:118).
    """

    def around(original: Callable[[str], Any]) -> Callable[[str], Any]:
        def find(name: str) -> Any:
            found = original(name)
            asks = "input_patch_size" in inspect.signature(found.build_network_architecture).parameters
            return _with_patch(found, read_plans(model / "plans.json", inside=[model])) if asks else found

        return find

    return around


def _with_patch(trainer: Any, plans: Any) -> Any:
    (configuration,) = plans["configurations"].values()

    class WithPatch(trainer):  # type: ignore[misc]
        @staticmethod
        def build_network_architecture(
            name: str, arguments: Any, imported: Any, channels: int, classes: int, *, enable_deep_supervision: bool
        ) -> Any:
            return trainer.build_network_architecture(
                name,
                arguments,
                imported,
                input_patch_size=configuration["patch_size"],
                num_input_channels=channels,
                num_output_channels=classes,
                enable_deep_supervision=enable_deep_supervision,
            )

    return WithPatch


def _told(network: Any, found: Pretrained) -> str:
    """How many of the encoder's tensors the network has as they were in the checkpoint, and how many adapted."""
    import torch

    own, plan = network.state_dict(), found.plan
    parts = ((plan["key_to_encoder"], network.key_to_encoder), (plan["key_to_stem"], network.key_to_stem))
    given = {
        here + name.removeprefix(there): tensor
        for there, here in parts
        for name, tensor in found.tensors.items()
        if name.startswith(there)
    }
    same = [name for name, tensor in given.items() if name in own and torch.equal(own[name].cpu(), tensor)]
    names = {tensor.data_ptr(): name for name, tensor in reversed(own.items())}  # layers may have several names
    adapted = sorted({names[own[name].data_ptr()] for name in given.keys() & own.keys() - {*same}})
    also = f", {len(adapted)} adapted to channels or patch ({some(adapted, SHOWN_LAYERS)})" if adapted else ""
    return (
        f"Transfer: {len({own[name].data_ptr() for name in same})} of {len(names)} tensors of the network were loaded "
        f"from {found.name} as they are{also}; the others, as those of the decoder, begin at random."
    )
