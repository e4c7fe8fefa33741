"""Every broken case is found and named before anything is trained; a good dataset has no problem."""

import json
import re
import shutil
from pathlib import Path

import nibabel
import pytest

from nnunet_mcp.settings import Settings
from tests.kit.defects import DEFECTS, ENDINGS, MRI, Base, Defect, rewrite
from tests.kit.tiny import ask

CASES = ("case_a", "case_b", "case_c", "case_d")


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory, hippocampus: Path, nuclei: Path) -> dict[Base, Path]:
    """Four real cases, whole: as they are, with a second channel, without compression, and in PNG."""
    folder = tmp_path_factory.mktemp("bases")
    scans = sorted((hippocampus / "labelsTr").glob("h*.nii.gz"))[: len(CASES)]
    cells = sorted((nuclei / "labelsTr").glob("*.png"))[: len(CASES)]
    found: dict[Base, Path] = {}
    for base in ("mri", "two channels", "uncompressed", "cells"):
        found[base] = folder / base
        _copy(found[base], cells if base == "cells" else scans, ENDINGS.get(base, ".nii.gz"), base)
    return found


def _copy(target: Path, labels: list[Path], ending: str, base: Base) -> None:
    for name in ("imagesTr", "labelsTr"):
        (target / name).mkdir(parents=True)
    for case, truth in zip(CASES, labels, strict=True):
        number = "_0000" if base == "cells" else ""
        image = truth.parents[1] / "imagesTr" / truth.name.replace(".", f"{number}.", 1)
        _put(image, target / "imagesTr" / f"{case}_0000{ending}")
        _put(truth, target / "labelsTr" / f"{case}{ending}")
        if base == "two channels":
            _put(image, target / "imagesTr" / f"{case}_0001{ending}")
            rewrite(target / "imagesTr" / f"{case}_0001{ending}", lambda values: values.max() - values)
    names = ["MRI", "MRI 2"] if base == "two channels" else ["microscopy" if base == "cells" else "MRI"]
    labels_there = {"nucleus": 1} if base == "cells" else {"Anterior": 1, "Posterior": 2}
    description = {
        "channel_names": dict(enumerate(names)),
        "labels": {"background": 0, **labels_there},
        "numTraining": len(CASES),
        "file_ending": ending,
    }
    (target / "dataset.json").write_text(json.dumps(description), encoding="utf-8")


def _put(source: Path, target: Path) -> None:
    if target.suffix == source.suffix:
        shutil.copyfile(source, target)
    else:
        nibabel.save(nibabel.load(source), target)


def broken(bases: dict[Base, Path], defect: Defect, settings: Settings) -> Path:
    folder = settings.folder("raw") / "Dataset004_Broken"
    shutil.copytree(bases[defect.base], folder)
    defect.damage(folder)
    return folder


@pytest.mark.parametrize("base", ["mri", "two channels", "uncompressed", "cells"])
def test_a_good_dataset_has_neither_problems_nor_warnings(
    bases: dict[Base, Path], settings: Settings, base: Base
) -> None:
    shutil.copytree(bases[base], settings.folder("raw") / "Dataset004_Good")

    found = ask(settings, "nnunet_datasets", dataset_id=4)["datasets"][0]

    assert (found["problems"], found["warnings"], found["inspected"]) == ([], [], 4)


@pytest.mark.parametrize(
    "defect",
    [*DEFECTS[:20], *(pytest.param(defect, marks=pytest.mark.heavy) for defect in DEFECTS[20:])],
    ids=lambda defect: defect.name,
)
def test_a_defect_is_named_once_with_its_case_and_its_fix(
    bases: dict[Base, Path], settings: Settings, defect: Defect
) -> None:
    broken(bases, defect, settings)

    found = ask(settings, "nnunet_datasets", dataset_id=4)["datasets"][0]

    certain, likely = found["problems"], found["warnings"]
    assert (len(certain), len(likely)) == ((1, 0) if defect.certain else (0, 1)), (certain, likely)
    sentence = (certain + likely)[0]
    assert re.search(defect.said, sentence), sentence
    assert defect.case in sentence and defect.fix in sentence, sentence
    assert len(sentence) < 500


def test_there_are_many_kinds_of_defects() -> None:
    assert len(DEFECTS) >= 50 and len({defect.name for defect in DEFECTS}) == len(DEFECTS)
    assert len(MRI) > 25
