"""Trainings as they lie on disk at their end, without training: nnU-Net's own plans and what its trainers note."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy

from nnunet_mcp.files import append_line, write_model
from nnunet_mcp.nnunet.datasets import DatasetFiles, FoldFiles
from nnunet_mcp.nnunet.splits import FoldCases, TrainedCases, split_of, text_of
from nnunet_mcp.nnunet.summary import Summary
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.provenance import compose_provenance
from nnunet_mcp.runs.store import record_run
from nnunet_mcp.schemas.outcomes import ModelOutcome
from nnunet_mcp.schemas.records import Epoch, GpuUsed, StageSpec, StageState
from nnunet_mcp.settings import Settings
from tests.kit.tiny import record_of

PLANS = Path(__file__).parents[2] / "plans"
# str() of what nnU-Net 2.8.1 makes of these plans, by trainer; but for the first, only what differs from the first.
RECORDED: dict[str, dict[str, str]] = json.loads(
    Path(__file__).with_name("recorded_debug.json").read_text(encoding="utf-8")
)
VERSIONS = {"python": "3.11.7", "nnunet-mcp": "0.1.0", "nnunetv2": "2.8.1", "torch": "2.14.1", "cuda": "13.0"}
CASES = tuple(f"MILLER_JOHN_{number:02d}" for number in range(9))
PARAMETERS = 30_788_388


@dataclass
class Trained:
    """A training of some folds of a dataset with nine cases."""

    configuration: str = "3d_fullres"
    folds: tuple[str, ...] = ("0",)
    trainer: str = "nnUNetTrainer"
    plans: str = "default_with_cascade"
    debug: str = "default 3d"
    description: Mapping[str, Any] = field(default_factory=dict)
    asked: Mapping[str, Any] = field(default_factory=dict)
    noted: Mapping[str, str] = field(default_factory=dict)  # in debug.json, instead
    spacing: tuple[float, ...] = (1.0, 0.8, 0.8)
    epochs: int = 1000
    gpu: str = ""
    dataset: str = "Dataset005_Big"
    run_id: str = "d005-3d_fullres-f0-tttt"
    dice: float = 0.9

    def on_disk(self, settings: Settings) -> str:
        """Write it; returns the run's id."""
        files = DatasetFiles(settings.folders, self.dataset)
        plans = json.loads((PLANS / f"{self.plans}.json").read_text(encoding="utf-8")) | {"dataset_name": self.dataset}
        self._dataset(files)
        model = files.model(self.trainer, plans["plans_name"], self.configuration)
        model.mkdir(parents=True, exist_ok=True)
        (model / "plans.json").write_text(json.dumps(plans), "utf-8")
        for name in ("dataset.json", "dataset_fingerprint.json"):
            (model / name).write_bytes((files.preprocessed / name).read_bytes())
        split = split_of(CASES, [set(CASES[number::3]) for number in range(3)])
        for fold in self.folds:
            cases = FoldCases(train=CASES, val=CASES) if fold == "all" else split[int(fold)]
            self._fold(FoldFiles(model / f"fold_{fold}"), cases)
        self._run(settings, files, plans["plans_name"])
        return self.run_id

    def _dataset(self, files: DatasetFiles) -> None:
        if files.raw.is_dir():
            return
        labels = {"background": 0, "organ": 1, "tumour": 2}
        description = {"channel_names": {"0": "MRI"}, "labels": labels, "numTraining": 9, "file_ending": ".nii.gz"}
        for folder in (files.raw / "imagesTr", files.raw / "labelsTr", files.preprocessed):
            folder.mkdir(parents=True)
        for folder in (files.raw, files.preprocessed):
            (folder / "dataset.json").write_text(json.dumps({**description, **self.description}), "utf-8")
        for case in CASES:
            _image(files.raw / "imagesTr" / f"{case}_0000.nii.gz")
            _image(files.raw / "labelsTr" / f"{case}.nii.gz")
        fingerprint = {"shapes_after_crop": [[400, 512, 512]] * 9, "spacings": [self.spacing] * 9}
        files.fingerprint_file.write_text(json.dumps(fingerprint), "utf-8")
        files.splits_file.write_text(text_of(split_of(CASES, [set(CASES[number::3]) for number in range(3)])), "utf-8")

    def _fold(self, fold: FoldFiles, cases: FoldCases) -> None:
        fold.summary.parent.mkdir(parents=True)
        fold.final.write_bytes(b"")
        noted = {**RECORDED["default 3d"], **RECORDED[self.debug], **self.noted}
        (fold.path / "debug.json").write_text(json.dumps(noted), "utf-8")
        fold.summary.write_text(json.dumps(_summary(cases.val, self.dice)), "utf-8")
        for case in cases.val:
            _image(fold.summary.parent / f"{case}.nii.gz")
        summary = Summary(fold.summary, {"organ": 1, "tumour": 2})
        outcome = ModelOutcome(
            ok=True,
            metrics=summary.metrics(-0.5),
            per_class=summary.per_class(),
            cases=summary.cases(),
            epochs_trained=self.epochs,
            train_hours=12.5,
            parameters=PARAMETERS,
        )
        write_model(fold.outcome_file, outcome)
        write_model(fold.cases_file, TrainedCases(train=cases.train, val=cases.val))
        fold.owner_file.write_text(self.run_id, "utf-8")

    def _run(self, settings: Settings, files: DatasetFiles, plans: str) -> None:
        kind = "validate" if self.asked.get("validation_only") else "train"
        stages = [
            StageSpec(name=f"train_fold_{fold}", kind=kind, configuration=self.configuration, fold=fold)
            for fold in self.folds
        ]
        fold = "full" if self.folds == ("all",) else self.folds[0] if len(self.folds) == 1 else "all"
        asked = {"dataset_id": 5, "configuration": self.configuration, "fold": fold, **self.asked}
        record = record_of(
            settings,
            *stages,
            run_id=self.run_id,
            dataset_name=self.dataset,
            request=asked,
            trainer=self.trainer,
            plans_identifier=plans,
            versions=VERSIONS,
            device="cuda" if self.gpu else "cpu",
        )
        run, _ = record_run(StateDir.of(settings), record, [], repeat_window_s=0)
        devices = (GpuUsed(name=self.gpu),) if self.gpu else ()
        for spec in stages:
            stage, outcome = run.stage(spec.name), FoldFiles(files.fold_of(record, spec)).outcome()
            write_model(stage.state_file, StageState(status="success", started_at=1.0, ended_at=2.0, devices=devices))
            assert outcome is not None
            write_model(stage.outcome_file, outcome)
            values = dict.fromkeys(("train_loss", "val_loss", "learning_rate", "pseudo_dice", "ema_pseudo_dice"), 0.5)
            append_line(stage.epochs_file, Epoch.model_validate({"epoch": 0, "seconds": 1.0, **values}))
        write_model(run.provenance_file, compose_provenance(run, record))


def _summary(cases: tuple[str, ...], dice: float) -> dict[str, Any]:
    values = {case: dice - number / 100 for number, case in enumerate(cases)}
    entries = [
        {
            "prediction_file": f"/home/doctor/{case}.nii.gz",
            "metrics": {"1": {"Dice": value, "IoU": value / 2}, "2": {"Dice": value - 0.1, "IoU": value / 2 - 0.1}},
        }
        for case, value in values.items()
    ]
    mean = math.fsum(values.values()) / len(values)
    means = {"1": {"Dice": mean, "IoU": mean / 2}, "2": {"Dice": mean - 0.1, "IoU": mean / 2 - 0.1}}
    return {"foreground_mean": {"Dice": mean - 0.05, "IoU": mean / 2 - 0.05}, "mean": means, "metric_per_case": entries}


def _image(path: Path) -> None:
    values = numpy.zeros((4, 5, 6), dtype=numpy.uint8)
    values[1:3, 1:3, 1:3] = 1
    nibabel.save(nibabel.Nifti1Image(values, numpy.eye(4)), path)
