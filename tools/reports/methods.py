"""The methods paragraph of a paper, each number from a file; what no file tells is left out by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...errors import RunError
from ...nnunet.best import source_of
from ...nnunet.postprocessing import JSON_NAME, describe_steps, read_steps
from . import methods_data, methods_network, methods_training
from .methods_augmentation import augmentation
from .subjects import Subject, told
from .wording import axes_in, listed, number

CITATION = (
    "Isensee, F., Jaeger, P. F., Kohl, S. A. A., Petersen, J. & Maier-Hein, K. H. nnU-Net: a self-configuring method "
    "for deep learning-based biomedical image segmentation. Nature Methods 18, 203–211 (2021). "
    "https://doi.org/10.1038/s41592-020-01008-z"
)
QUOTED = "source of the data"  # the topic in others' words
PROGRAMS = {"nnunetv2": "nnU-Net", "torch": "PyTorch", "cuda": "CUDA", "python": "Python", "nnunet-mcp": "nnunet-mcp"}


@dataclass(frozen=True)
class Methods:
    """The sentences by topic; "" where no file tells."""

    sentences: Mapping[str, str]

    @property
    def text(self) -> str:
        """The paragraph."""
        return " ".join(filter(None, self.sentences.values()))

    @property
    def unknown(self) -> tuple[str, ...]:
        """What it does not tell."""
        return tuple(topic for topic, said in self.sentences.items() if not said)


def methods(subject: Subject) -> Methods:
    """How a model was trained and measured, in the words of a paper."""
    return Methods({topic: told(sentence, subject) for topic, sentence in TOPICS.items()})


def _model(subject: Subject) -> str:
    """Which of nnU-Net's configurations, plans and trainers."""
    _, plans, configuration = subject.model.name
    changes = ", ".join(subject.request.changes)
    changed = f" with {changes}" if changes else ""
    many = "Models were" if len(subject.scores.folds) > 1 else "A model was"
    return (
        f"{many} trained with nnU-Net v2 (Isensee et al., 2021), configuration {configuration}, plans {plans}, trainer "
        f"{subject.base}{changed}."
    )


def inference(subject: Subject) -> str:
    """How validation cases were predicted (nnUNetTrainer.py:1274; the predictor's numbers are fixed there)."""
    if "inference_allowed_mirroring_axes" not in subject.debug:
        return ""
    mirrored = axes_in(subject.debug["inference_allowed_mirroring_axes"])
    averaged = f"averaged over versions mirrored along {mirrored}" if mirrored else "without mirroring"
    weights = "of the best pseudo Dice" if subject.request.val_best else "after the last epoch"
    cases = "The cases" if subject.is_of_every_case else "Validation cases"
    return (
        f"{cases} were predicted in sliding windows of the patch size that overlap by half, weighted by a Gaussian and "
        f"{averaged}, with the weights {weights}."
    )


def postprocessing(subject: Subject) -> str:
    """None is applied to what is measured; but the search for the best configuration may have chosen one."""
    none = "No postprocessing was applied to the predictions that are measured here"
    folder = source_of(subject.files, [subject.model.folder.name], tuple(subject.scores.folds))
    try:
        steps = describe_steps(read_steps(folder / JSON_NAME), subject.description.get("labels") or {})
    except RunError:
        return f"{none}."
    return f"{none}; for predictions nnU-Net's search chose: {listed(steps) if steps else 'none'}."


def metrics(subject: Subject) -> str:
    """What is measured, where and over what (evaluation/evaluate_predictions.py:83-163)."""
    cases = "each case that the model was trained on" if subject.is_of_every_case else "each validation case"
    units = {subject.patients[case] for case in subject.scores.cases}
    drawn = "patients" if len(units) < len(subject.scores.cases) else "cases"
    overall = (
        "the overall Dice is nnU-Net's, the mean over classes of these means; " if len(subject.scores.dice) > 1 else ""
    )
    return (
        f"Dice and IoU of {cases} were computed by nnU-Net for each class at the images' original resolution, leaving "
        f"out classes that neither truth nor prediction has, and averaged over cases; {overall}95 % intervals are "
        f"percentile bootstraps with 10,000 draws of {drawn}."
    )


def versions(subject: Subject) -> str:
    """What computed it."""
    known = subject.record.versions
    used = {key: name for key, name in PROGRAMS.items() if key != "cuda" or subject.record.device == "cuda"}
    told = [f"{name} {known[key]}" for key, name in used.items() if known.get(key)]
    what = "The validation ran" if subject.request.validation_only else "It ran"
    return f"{what} with {listed(told)}." if told else ""


def hardware(subject: Subject) -> str:
    """What it was trained on, as far as this run did; else the GPU that nnU-Net noted."""
    noted = subject.debug.get("gpu_name")
    here = not subject.request.validation_only and not any(spec.reused for spec in subject.record.model_stages)
    if subject.end is None or not here:
        return f"It was trained on {noted}." if noted else ""
    machine = subject.end.machine
    if machine.device == "cpu":
        memory = f"{number(machine.memory_gb)} GB of memory"
        return f"It was trained on a CPU ({machine.processor}, {machine.cores} cores, {memory})."
    found = machine.gpus or ((noted,) if noted else ())
    return f"It was trained on {listed(found)}." if found else ""


TOPICS: Mapping[str, Callable[[Subject], str]] = {
    "model": _model,
    "data": methods_data.data,
    QUOTED: methods_data.source,
    "split": methods_data.split,
    "sizes and spacings of the images": methods_data.sizes,
    "resampling": methods_data.preprocessing,
    "normalisation": methods_data.normalization,
    "network": methods_network.network,
    "number of parameters": methods_network.parameters,
    "initial weights": methods_training.beginning,
    "loss": methods_training.loss,
    "optimizer": methods_training.optimizer,
    "learning-rate schedule": methods_training.schedule,
    "epochs and iterations": methods_training.epochs,
    "precision": methods_training.precision,
    "sampling of patches": methods_training.sampling,
    "augmentation": augmentation,
    "inference": inference,
    "postprocessing": postprocessing,
    "metrics": metrics,
    "versions": versions,
    "hardware": hardware,
    "training time": methods_training.duration,
}
