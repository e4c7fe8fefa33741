"""The comparison as a table for people: Markdown, CSV or LaTeX."""

import csv
import io
import re
from typing import Literal

from ...schemas.models import ComparedModel
from ...schemas.run_list import RunLine

Format = Literal["markdown", "csv", "latex"]
Rows = list[list[str]]
NUMBER = re.compile(r"-?[\d.]+")
LATEX_SPECIAL = {sign: f"\\{sign}" for sign in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "–": "--",
}


def write_table(models: list[ComparedModel], layout: Format) -> str:
    """One line per model: rank, folds, Dice and IoU, Dice per class, epochs, hours, parameters, and notes if any.

    LaTeX has what a paper prints, because twelve columns do not fit a page.
    """
    labels = list(dict.fromkeys(label for model in models for label in model.per_class))
    scores = ["Dice (all cases)", "Dice (folds, mean ± SD)", "IoU", *(f"Dice {label}" for label in labels)]
    head = ["rank", "model", "folds", "cases", *scores, "epochs", "hours (sum)", "parameters"]
    rows = [_row(model, labels) for model in models]
    if layout == "latex":
        return _written(["model", "cases", *scores, "epochs"], [[row[1], row[3], *row[4:-2]] for row in rows], layout)
    if any(model.note for model in models):
        head, rows = [*head, "note"], [[*row, model.note or "–"] for row, model in zip(rows, models, strict=True)]
    return _written(head, rows, layout)


def write_last_epochs(runs: list[RunLine], layout: Format) -> str:
    """One line per training that is not validated: where it stands, and what its last epoch said."""
    head = ["run", "status", "epoch", "train loss", "val loss", "pseudo Dice (estimate)"]
    rows = [
        [run.run_id, run.status, run.epoch or "–", *map(_number, (run.train_loss, run.val_loss, run.pseudo_dice))]
        for run in runs
    ]
    return _written(head, rows, layout)


def _written(head: list[str], rows: Rows, layout: Format) -> str:
    write = {"markdown": _markdown, "csv": _csv, "latex": _latex}[layout]
    return write(head, rows)


def _row(model: ComparedModel, labels: list[str]) -> list[str]:
    dice = [_number(model.per_class.get(label, (None, None))[0]) for label in labels]
    return [
        str(model.rank) if model.rank else "–",
        model.name,
        "+".join(model.folds) + ("" if model.complete else " (incomplete)"),
        str(model.cases),
        _number(model.dice),
        model.dice_mean_sd or "–",
        _number(model.iou),
        *dice,
        str(model.epochs) if model.epochs else "–",
        f"{model.train_hours:.2f}" if model.train_hours is not None else "–",
        f"{model.parameters / 1e6:.2f} M" if model.parameters else "–",
    ]


def _number(value: float | None) -> str:
    return f"{value:.4f}" if value is not None else "–"


def _markdown(head: list[str], rows: Rows) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _csv(head: list[str], rows: Rows) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([*map(_no_formula, line)] for line in (head, *rows))
    return text.getvalue()


def _no_formula(cell: str) -> str:
    """What a spreadsheet would compute begins with a sign that keeps it a text (OWASP, CSV injection)."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@")) and not NUMBER.fullmatch(cell) else cell


def _latex(head: list[str], rows: Rows) -> str:
    lines = [" & ".join(_escaped(cell) for cell in line) + r" \\" for line in (head, *rows)]
    begin = [
        r"% needs \usepackage{booktabs}",
        rf"\begin{{tabular}}{{{'l' * len(head)}}}",
        r"\toprule",
        lines[0],
        r"\midrule",
    ]
    return "\n".join([*begin, *lines[1:], r"\bottomrule", r"\end{tabular}"])


def _escaped(cell: str) -> str:
    return "".join(LATEX_SPECIAL.get(sign, sign) for sign in cell)
