"""The part of the methods on training, from what nnU-Net noted in debug.json when it began.

Sources: nnunetv2 2.8.1, nnUNetTrainer.py (loss 390, optimizer 522, step 1026), training/loss, training/lr_scheduler.
"""

import re

from ...texts import numbered
from .subjects import Subject
from .wording import hours, listed, number

FOREGROUND, REGIONS = "over the foreground classes", "over the regions"
HARDEST = "the cross-entropy of the hardest 10 % of voxels"
LOSSES = {
    "DC_and_CE_loss": ("the sum of soft Dice loss{dice} and cross-entropy", FOREGROUND),
    "DC_and_BCE_loss": ("the sum of soft Dice loss{dice} and binary cross-entropy of the regions", REGIONS),
    "DC_and_topk_loss": (f"the sum of soft Dice loss{{dice}} and {HARDEST}", FOREGROUND),
    "MemoryEfficientSoftDiceLoss": ("soft Dice loss{dice}", FOREGROUND),
    "RobustCrossEntropyLoss": ("cross-entropy", ""),
    "TopKLoss": (HARDEST, ""),
}
WRAPPERS = ("DeepSupervisionWrapper", "OptimizedModule")
# As classes of nnU-Net and as values of `changes`; the loss does not write these arguments.
UNSMOOTHED = ("nnUNetTrainerDiceCELoss_noSmooth", "dice_ce_nosmooth")
LABEL_SMOOTHING = ("nnUNetTrainerTopk10LossLS01", "topk_ls")
CLASS_NAME = re.compile(r"(\w+)\(")
GROUP = re.compile(r"^\s+(\w+): (.+)$", re.MULTILINE)
CLIPPED = 12  # nnUNetTrainer.py:1042


def loss(subject: Subject) -> str:
    """The loss's class in words."""
    names = [name for name in CLASS_NAME.findall(subject.debug["loss"]) if name not in WRAPPERS]
    if names[0] not in LOSSES or not subject.is_described:
        made_of = f" of {listed(dict.fromkeys(names[1:]))}" if names[1:] else ""
        return f"The loss was the trainer's own ({names[0]}{made_of})."
    words, over = LOSSES[names[0]]
    chosen = subject.changes.get("loss", subject.base)
    smoothing = "without a smoothing term" if chosen in UNSMOOTHED else "with a smoothing term of 1e-5"
    pooled = "pooled over the batch" if subject.planned["batch_dice"] else "for each patch"
    labels = " with label smoothing of 0.1" if chosen in LABEL_SMOOTHING else ""
    return f"The loss was {words.format(dice=f' ({over}, {pooled}, {smoothing})')}{labels}, {_deep(subject)}."


def _deep(subject: Subject) -> str:
    """The weights of the lower resolutions (nnUNetTrainer.py:410-427)."""
    if "DeepSupervisionWrapper" not in subject.debug["loss"]:
        return "at full resolution only"
    return "with deep supervision (weights halved from each resolution to the next, none at the lowest)"


def optimizer(subject: Subject) -> str:
    """The optimizer with its numbers."""
    name, _, groups = subject.debug["optimizer"].partition(" (")
    values = dict(GROUP.findall(groups.partition("Parameter Group 1")[0]))
    rate = number(values.get("initial_lr", values.get("lr")))
    clipped = f"; gradients were clipped to a norm of {CLIPPED}" if subject.is_described else ""
    decay = f", weight decay {number(values['weight_decay'])}" if "weight_decay" in values else ""
    return f"It was minimised by {_named(name, values)} with an initial learning rate of {rate}{decay}{clipped}."


def _named(name: str, values: dict[str, str]) -> str:
    if name == "SGD":
        nesterov = "Nesterov " if values.get("nesterov") == "True" else ""
        return f"stochastic gradient descent ({nesterov}momentum {number(values['momentum'])})"
    told = [f"betas {values['betas']}"] if "betas" in values else []
    told += ["AMSGrad"] if values.get("amsgrad") == "True" else []
    return f"{name} ({', '.join(told)})" if told else name


def schedule(subject: Subject) -> str:
    """How the learning rate falls."""
    found = re.match(r"<[\w.]*?(\w+) object", subject.debug["lr_scheduler"])
    if found is None:
        return ""
    planned = int(subject.debug["num_epochs"])
    if found[1] == "PolyLRScheduler" and subject.is_described:  # polylr.py: exponent 0.9, one step per epoch
        return f"The learning rate fell from epoch to epoch as (1 − epoch/{planned})^0.9."
    if found[1] == "CosineAnnealingLR":
        return f"The learning rate fell to zero as a cosine over {numbered(planned, 'epoch')}."
    return f"The learning rate followed {found[1]} over {numbered(planned, 'epoch')}."


def epochs(subject: Subject) -> str:
    """Epochs and iterations."""
    each, planned = int(subject.debug["num_iterations_per_epoch"]), int(subject.debug["num_epochs"])
    noted = {one.epochs_trained for one in subject.outcomes.values()}
    if len(noted) > 1:
        return ""
    trained = noted.pop() or planned  # checkpoint_final is written after the last epoch
    short = f" of {planned} planned" if planned != trained else ""
    models = "Each model" if len(subject.scores.folds) > 1 else "The model"
    steps = f"{numbered(trained, 'epoch')}{short} of {numbered(each, 'iteration')}"
    return f"{models} was trained for {steps} ({trained * each:,} steps)."


def precision(subject: Subject) -> str:
    """In which numbers it computed."""
    if subject.record.bf16:
        return "The network computed in bfloat16, with weights and losses in float32."
    scaled = "cuda" in subject.debug["device"] and subject.debug["grad_scaler"] != "None"
    return f"The network computed in {'mixed precision (float16, with gradient scaling)' if scaled else 'float32'}."


def sampling(subject: Subject) -> str:
    """How many patches of a batch are sure to have foreground (dataloading/data_loader.py:66-76)."""
    share, batch = float(subject.debug["oversample_foreground_percent"]), int(subject.planned["batch_size"])
    if subject.debug["is_ddp"] != "False":  # it is the first GPU's
        return ""
    if subject.debug.get("probabilistic_oversampling") == "True":
        return f"A patch was centred on foreground with a probability of {number(share)}."
    sure = batch - round(batch * (1 - share))
    were = "was" if sure == 1 else "were"
    return f"Of the {batch} patches of a batch {sure} {were} centred on foreground, the others placed at random."


def beginning(subject: Subject) -> str:
    """Where the first weights come from."""
    if subject.request.pretrained_weights:
        return "The weights were initialised from a pretrained model."
    if subject.request.validation_only or subject.request.continue_training:
        return ""
    seed = subject.changes.get("seed")
    return f"The weights were initialised at random{f' with seed {seed}' if seed else ', without a fixed seed'}."


def duration(subject: Subject) -> str:
    """Hours of training."""
    known = [one.train_hours for one in subject.outcomes.values()]
    every = [value for value in known if value is not None]
    if not every or len(every) < len(subject.scores.folds):
        return ""
    together = f" for {len(every)} folds together" if len(every) > 1 else ""
    return f"Training took {hours(sum(every))}{together}."
