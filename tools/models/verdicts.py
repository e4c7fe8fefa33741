"""What a comparison comes to, in words: the verdict on each pair, how it was found, and what to do next."""

from collections.abc import Sequence

from ...calls import call
from ...nnunet.scores import EVALUATED, Difference
from ...schemas.model_name import ModelName
from ...schemas.models import ComparedModel, ModelDifference
from ...schemas.results import HARDLY_ANY
from ...texts import opening

# Of five units the most extreme signs come by chance once in sixteen times, of six once in 32: p < 0.05.
FEWEST_UNITS = 6
# The preset that nnU-Net recommends (documentation/resenc_presets.md of 2.8.1), in the default's budget of memory.
OTHER_PRESET = "nnUNetResEncUNetMPlans"
NUMBERS = (
    "dice and iou: mean over classes of the mean over all cases. dice_mean_sd: mean over folds ± sample standard "
    "deviation between folds. train_hours: sum over folds."
)
TEST = (
    " differences: mean over the shared cases of each case's mean Dice; 95 % percentile bootstrap over {units} (10,000 "
    "draws) and two-sided sign-flip test, p without correction for several models. A verdict needs both to "
    "agree, and six cases or patients."
)


def method(differences: Sequence[ModelDifference]) -> str:
    """What the numbers mean."""
    if not differences:
        return NUMBERS
    return NUMBERS + TEST.format(units="patients" if any(found.patients for found in differences) else "cases")


def verdict(model: str, against: str, found: Difference) -> str:
    """The one sentence about a pair that its numbers allow."""
    grouped = f" of {found.units} patients" if found.units != found.cases else ""
    size = f"n = {found.cases} shared cases{grouped}"
    if found.clear:
        word = "better" if found.mean > 0 else "worse"
        return f"{model} is {word} than {against} by {abs(found.mean):.4f} ({size})"
    if found.units < FEWEST_UNITS:
        side = "above" if found.mean > 0 else "below"
        apart = f"is {abs(found.mean):.4f} {side} {against} there" if found.mean else f"equals {against} there"
        return f"too few to tell: {size}, a test needs {FEWEST_UNITS}; {model} {apart}"
    return f"no difference between {model} and {against} shown; {size}"


def next_step(
    models: Sequence[ComparedModel], differences: Sequence[ModelDifference], folds: list[str], dataset_id: int
) -> str:
    """What follows from the paired numbers; a training is a question to the person."""
    if all(model.complete and model.dice is None for model in models):
        return "A Dice that is null has no rank: the notes say which class to look at."
    if all((model.dice or 0.0) < HARDLY_ANY for model in models):
        return "None of these models segments anything yet: train longer before a comparison can say something."
    told = [f"{opening(found.verdict)}." for found in differences]
    if any(EVALUATED in model.folds for model in models):
        return " ".join(told) or "Nothing was compared: name another evaluation, or a training, of the same cases."
    if len(models) == 1:
        return f"Nothing was compared: {models[0].name} is the only validated model. {_second(models[0], dataset_id)}"
    best = next((model for model in models if model.rank == 1), None)
    if best is not None:
        return _of_ranked(best, differences)
    return " ".join([*told, _way_to_a_rank(models, folds, dataset_id)])


def _of_ranked(best: ComparedModel, differences: Sequence[ModelDifference]) -> str:
    open_ones = [found.verdict for found in differences if not found.clear or found.difference > 0]
    if not open_ones:
        return f"{best.name} is better than each model that it was paired with."
    return f"{best.name} has the highest Dice, but not clearly: {'; '.join(open_ones)}. Prefer the cheaper of these."


def _second(model: ComparedModel, dataset_id: int) -> str:
    """How to get something to compare with."""
    trainer, plans, configuration = ModelName.parse(model.name)
    other = OTHER_PRESET if plans == "nnUNetPlans" else "nnUNetPlans"
    names = {"configuration": configuration, **_not_default(trainer, other)}
    again = call(
        "nnunet_training", dataset_id=dataset_id, **names, fold="all" if len(model.folds) > 1 else model.folds[0]
    )
    took = f" ({model.name} took {model.train_hours:.2g} h)" if model.train_hours else ""
    return f"Ask the person whether to train a second one{took}, e.g. {again}."


def _way_to_a_rank(models: Sequence[ComparedModel], folds: list[str], dataset_id: int) -> str:
    if all(set(folds) <= set(model.folds) for model in models):
        return "They were trained on different splits; only the same split ranks them."
    lacking = [model for model in models if not set(folds) <= set(model.folds)]
    ways = "; ".join(_missing(model, folds, dataset_id) for model in lacking[:2])
    more = f"; and {len(lacking) - 2} more models" if len(lacking) > 2 else ""
    return f"A rank needs all folds of the same split. Ask the person whether to train what is missing: {ways}{more}."


def _missing(model: ComparedModel, folds: list[str], dataset_id: int) -> str:
    trainer, plans, configuration = ModelName.parse(model.name)
    names = _not_default(trainer, plans)
    again = call("nnunet_training", dataset_id=dataset_id, configuration=configuration, **names, fold="all")
    lacking = [fold for fold in folds if fold not in model.folds]
    if not model.train_hours or not model.folds:
        return f"{again} ({len(lacking)} folds)"
    return f"{again} ({len(lacking)} folds, about {model.train_hours / len(model.folds) * len(lacking):.2g} h)"


def _not_default(trainer: str, plans: str) -> dict[str, str]:
    names = {"trainer": (trainer, "nnUNetTrainer"), "plans_identifier": (plans, "nnUNetPlans")}
    return {name: value for name, (value, usual) in names.items() if value != usual}
