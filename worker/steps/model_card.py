"""The model card in Markdown: what somebody needs to know about a model before using it."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...calls import call, in_mcp
from ...nnunet.models import Model, files_of_a_case
from ...nnunet.preprocessed import planned
from ...nnunet.summary import Summary, fold_outcome
from ...schemas.outcomes import ModelOutcome
from ...texts import clean, in_markdown

NOT_KNOWN = "not known"
LONGEST = 2000
LEAN = (
    "The checkpoints have no state of the optimizer: they predict, and other trainings can begin with their weights, "
    "but their own cannot go on."
)


def write_card(
    archive: str,
    models: Sequence[Model],
    description: Mapping[str, Any],
    versions: Mapping[str, str],
    best: Sequence[str],
    *,
    resumable: bool = True,
    named: Mapping[str, str] | None = None,
) -> str:
    """The card of the models in a zip. `description` is the dataset.json in it, `best` the result of the search in
    words, `named` the class of nnU-Net's that the checkpoints of a trainer name in its place."""
    blocks = [
        f"# {models[0].files.name}: {', '.join(model.folder.name for model in models)}",
        "A model of [nnU-Net v2](https://github.com/MIC-DKFZ/nnUNet), exported by nnunet-mcp. It is no medical device.",
        "## Dataset\n\n" + _table(("", ""), _dataset(description)),
        *(_model(model, named or {}) for model in models),
        *(["## Best configuration\n\n" + "\n".join(f"- {_escaped(line)}" for line in best)] if best else []),
        "## Use\n\n" + _use(archive, models, description) + ("" if resumable else f"\n\n{LEAN}"),
        "## Versions\n\n" + _table(("", ""), versions.items()),
        "The weights fall under the licence of the data that they were trained on. Please cite Isensee et al., Nature "
        "Methods 18, 203-211 (2021).",
    ]
    return "\n\n".join(blocks) + "\n"


def _table(heads: Sequence[str], rows: Any) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return NOT_KNOWN
    return f"{value:.4f}" if isinstance(value, float) else _escaped(value)


def _escaped(text: object) -> str:
    """Names and descriptions, which others wrote."""
    return in_markdown(text, LONGEST)


def _dataset(description: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    channels, labels = description.get("channel_names", {}), description.get("labels", {})
    yield "channels", ", ".join(f"{key}: {name}" for key, name in channels.items())
    yield "labels", ", ".join(f"{name}: {value}" for name, value in labels.items())
    yield "training cases", description.get("numTraining")
    yield "files", description.get("file_ending")
    for key in ("name", "description", "reference", "licence", "license", "release"):
        if description.get(key):
            yield key, description[key]


def _model(model: Model, named: Mapping[str, str]) -> str:
    blocks = [f"## {model.folder.name}", _table(("", ""), _plans(model, named)), _folds(model)]
    return "\n\n".join(filter(None, blocks))


def _plans(model: Model, named: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    trainer, identifier, configuration = model.name
    found = planned(model.plans, configuration) or {}
    outcome = _first_outcome(model)
    yield "configuration", configuration
    theirs = named.get(trainer, trainer)
    yield "trainer", trainer if theirs == trainer else f"{trainer}; the checkpoints name {theirs}, of the same network"
    yield "plans", identifier
    yield "network", str(found.get("architecture", {}).get("network_class_name", NOT_KNOWN)).rsplit(".", 1)[-1]
    for key in ("spacing", "patch_size", "batch_size", "median_image_size_in_voxels", "normalization_schemes"):
        if key in found:
            yield key.replace("_", " "), ", ".join(map(str, found[key])) if isinstance(found[key], list) else found[key]
    yield "epochs per fold", outcome.epochs_trained if outcome else None
    yield "weights of the network", outcome.parameters if outcome else None
    yield "folds", ", ".join(model.folds)


def _first_outcome(model: Model) -> ModelOutcome | None:
    return next((found for fold in model.folds if (found := fold_outcome(model.fold(fold))) is not None), None)


def _folds(model: Model) -> str:
    """What nnU-Net measured on the validation cases of each fold, and of all folds together."""
    summaries = {f"fold {fold}": model.fold(fold).summary for fold in model.folds}
    for merged in sorted(model.folder.glob("crossval_results_folds_*")):
        summaries["all folds"] = merged / "summary.json"
    there = {name: path for name, path in summaries.items() if path.is_file()}
    if not there:
        return ""
    labels = model.description.get("labels", {})
    measured = {name: Summary(path, labels) for name, path in there.items()}
    classes = list(dict.fromkeys(one.label for found in measured.values() for one in found.per_class()))
    rows = [(name, *_metrics(found, classes)) for name, found in measured.items()]
    heads = ("", "cases", "Dice", "IoU", *(f"Dice {label}" for label in classes))
    note = "Measured on the cases that it was trained on, so optimistic.\n\n" if model.folds == ("all",) else ""
    return note + _table(heads, rows)


def _metrics(found: Summary, classes: Sequence[str]) -> tuple[object, ...]:
    whole, each = found.metrics(None), {one.label: one.dice for one in found.per_class()}
    return (len(found.cases()), whole.dice, whole.iou, *(each.get(label) for label in classes))


def _use(archive: str, models: Sequence[Model], description: Mapping[str, Any]) -> str:
    model, ending = models[-1], description.get("file_ending", ".nii.gz")
    trainer, identifier, configuration = model.name
    which = f"-d {model.files.name} -tr {trainer} -p {identifier} -c {configuration} -f {' '.join(model.folds)}"
    named = shlex.quote(clean(archive))
    cascade = "; a cascade also needs `-prev_stage_predictions`" if "cascade" in configuration else ""
    install = in_mcp(call("nnunet_import_model", zip=clean(archive)))
    predict = in_mcp(call("nnunet_predict", model=f"{model.files.name}/{model.folder.name}", images=None))
    return (
        f"Images are named `CASE_0000{ending}`, {files_of_a_case(description)}. "
        f"With nnU-Net's own commands{cascade}:\n\n"
        f"```sh\nnnUNetv2_install_pretrained_model_from_zip {named}\n"
        f"nnUNetv2_predict -i IMAGES -o PREDICTIONS {which}\n```\n\n"
        f"With nnunet-mcp: `{install}`, then `{predict}`."
    )
