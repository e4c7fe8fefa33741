"""The trainers of a model that goes to others: whether they need its file, and the file as text, for those who ask."""

from collections.abc import Iterator

from ...calls import argument
from ...files import read_plain
from ...nnunet.model_zip import trainer_text
from ...nnunet.models import Model
from ...nnunet.trainers import trainer_file
from ...texts import clean
from .checkpoints import known_to_all

MOST = 1 << 20  # bytes of a trainer's file


def trainer_files(models: list[Model]) -> Iterator[tuple[str, bytes]]:
    """Names in the zip and contents, unchanged. As text, because nobody's nnU-Net imports it from there."""
    for model in models:
        if path := trainer_file(model.name.trainer):
            inside = f"{model.folder.name}/{trainer_text(model.name.trainer)}"
            yield inside, read_plain(path, most=MOST)


def told_trainers(models: list[Model], *, included: bool) -> Iterator[str]:
    """What others need of trainers that nnU-Net does not have."""
    for name in dict.fromkeys(model.name.trainer for model in models):
        if (path := trainer_file(name)) is None:
            continue
        if (theirs := known_to_all(name)) != name:
            need = f"its checkpoints name {theirs}, which builds the same network, so others predict without it"
        else:
            need = "it builds a network of its own, so others cannot predict without it"
        along = (
            f"The text of {clean(path.name)} is in the zip as it is; what it imports from other files of yours is not."
            if included
            else f"{argument(include=['trainer'])} takes the text of {clean(path.name)} along."
        )
        yield f"The trainer {name} is not nnU-Net's: {need}. {along}"
