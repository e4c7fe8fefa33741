"""What `changes` of a training come to: the trainer, the name of the plans, and what cannot be changed here."""

from collections.abc import Mapping
from dataclasses import dataclass

from ...calls import argument
from ...errors import Refused
from ...files import read_json, read_model
from ...nnunet.datasets import DatasetFiles
from ...nnunet.preprocessed import DatasetNote, dataset_note_file, planned
from ...nnunet.trainers import PLANNERS
from ...nnunet.variants.made import LONGEST_NAME, Trainer, trainer_with
from ...nnunet.variants.patches import patch_of, refuse_huge_images, refuse_odd_patch
from ...schemas.changes.table import of_plans, of_trainer, read_changes, told_in_a_name, written
from ...schemas.training import TrainingRequest

# nnU-Net's classes assert it, or mean exclusive classes (variants/loss/*.py).
NOT_FOR_REGIONS = ("ce", "topk", "topk_ls", "dice_topk")
LONGEST_FOLDER = 200  # file systems take 255, and names are made of a model's
ADAPTIVE = ("adam", "adamw", "adan", "adan_cosine")


@dataclass(frozen=True)
class Experiment:
    """The trainer and the plans of a training, with what it changes of those that it names."""

    trainer: Trainer
    plans_identifier: str
    notes: tuple[str, ...] = ()


def experiment_of(request: TrainingRequest, base: str, plans: str, files: DatasetFiles, python: str) -> Experiment:
    """Check the changes of the trainer `base` and of the plans, and name what they make.

    Raises:
        Refused: they do not fit the dataset, the configuration or other arguments.
    """
    changes = read_changes(request.changes)
    _refuse_for_dataset(changes, request.configuration, read_json(files.raw / "dataset.json") or {})
    if replanned := of_plans(changes):
        _refuse_for_plans(request, plans, replanned)
        _refuse_for_images(request.configuration, plans, replanned, files)
    trainer = trainer_with(base, of_trainer(changes), python)
    name = told_in_a_name(plans, replanned)
    _refuse_long_name("plans", name, LONGEST_NAME)
    _refuse_long_name("model folder", files.model(trainer.name, name, request.configuration).name, LONGEST_FOLDER)
    return Experiment(trainer, name, tuple(_notes(trainer.name, name, changes)))


def _refuse_long_name(of: str, name: str, most: int) -> None:
    if len(name) > most:
        raise Refused(
            f"The {of} would have {len(name)} characters, as they tell these changes: {name}. At most {most} fit: "
            "change less at a time."
        )


def _refuse_for_dataset(changes: Mapping[str, str], configuration: str, description: Mapping[str, object]) -> None:
    labels, channels = description.get("labels"), description.get("channel_names") or description.get("modality")
    regions = isinstance(labels, dict) and any(isinstance(value, list) and len(value) > 1 for value in labels.values())
    if regions and changes.get("loss") in NOT_FOR_REGIONS:
        raise Refused(f"loss={changes['loss']} knows no regions, and this dataset's labels are regions. Use loss=dice.")
    given = changes.get("normalization", "").count(",") + 1
    if "normalization" in changes and isinstance(channels, dict) and given not in (1, len(channels)):
        raise Refused(
            f"normalization={changes['normalization']} has {given} names, and the images have {len(channels)} channels "
            f"({', '.join(map(str, channels.values()))}). Give one name, or one for each."
        )
    axes = 2 if configuration.startswith("2d") else 3
    if axes == 2 and "2" in changes.get("mirroring", ""):
        raise Refused(f"mirroring={changes['mirroring']}: a patch of {configuration} has the axes 0 and 1 only.")
    if (patch := patch_of(changes)) and len(patch) != axes:
        raise Refused(f"patch_size={changes['patch_size']}: a patch of {configuration} has {axes} numbers.")


def _refuse_for_plans(request: TrainingRequest, plans: str, changes: Mapping[str, str]) -> None:
    names = " and ".join(changes)
    if request.pretrained_weights is not None:
        raise Refused(
            f"{names} and {argument(pretrained_weights=None)} exclude each other: the plans are those of the "
            "pretrained model. Change them where that model is trained, or change only the trainer here."
        )
    if plans not in PLANNERS:
        raise Refused(
            f"{names} are planned by nnU-Net, and {plans} are plans of your own. Change them in that file, or start "
            f"from a preset: {', '.join(PLANNERS)}."
        )
    gpus, batch = request.num_gpus or 1, changes.get("batch_size")
    if batch is not None and gpus > int(batch):  # nnunetv2 2.8.1, nnUNetTrainer.py:402
        raise Refused(f"{argument(num_gpus=gpus)} splits a batch, and batch_size={batch} is smaller.")


def _refuse_for_images(configuration: str, plans: str, changes: Mapping[str, str], files: DatasetFiles) -> None:
    """What the plans and the fingerprint show already; the worker looks again once it has planned."""
    refuse_huge_images(files, changes)
    found = planned(files.plans(plans) or {}, configuration)
    if found is not None and "spacing" not in changes:
        refuse_odd_patch(found.get("spacing", ()), changes)
    _refuse_other_plans(configuration, told_in_a_name(plans, changes), changes, files)


def _refuse_other_plans(configuration: str, name: str, changes: Mapping[str, str], files: DatasetFiles) -> None:
    """Plans of this name that were not planned here with these changes, or none and nothing to plan from."""
    there = files.plans(name)
    if there is None and not files.raw.is_dir():
        raise Refused(f"{' and '.join(changes)}: nnU-Net plans from the raw data, and {files.raw} is not there.")
    note = read_model(dataset_note_file(files), DatasetNote) if there is not None else None
    if there is not None and (note is None or note.changes.get(name) != changes):
        raise Refused(
            f"{files.plans_file(name)} is there already, and was not planned here with {', '.join(written(changes))}. "
            f"Rename or remove it; or train with it as it is: {argument(plans_identifier=name)} without these changes."
        )
    found = planned(there or {}, configuration) or {}
    asked = {"batch_size": int(changes.get("batch_size", 0)), "patch_size": patch_of(changes)}
    for key, value in asked.items():
        if value and found.get(key, value) != value:
            raise Refused(
                f"{files.plans_file(name)} is there already with another {key} ({found[key]}), so it was not made for "
                "these changes. Rename or remove it."
            )


def _notes(trainer: str, plans: str, changes: Mapping[str, str]) -> list[str]:
    notes = [f"{', '.join(written(changes))}: trainer {trainer}, plans {plans}; everything else as without changes."]
    if changes.get("optimizer") in ADAPTIVE and "initial_lr" not in changes:
        notes.append(
            f"optimizer={changes['optimizer']} starts with the trainer's learning rate, 0.01 where it has none of its "
            "own; nnU-Net's own trainers with adam use initial_lr=0.001 and 0.0003."
        )
    return notes
