"""Datasets as the user's documentation describes them, 2D images, a folder per patient: they train as they are."""

import ast
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy
import pytest

from tests.kit.lab import FEW, Lab, msd_subset

pytestmark = pytest.mark.heavy
PATIENTS = 6
SHORT: dict[str, Any] = {"configuration": "2d", "fold": "0", "device": "cpu", "trainer": "ShortTrainer"}


def digest(folder: Path) -> str:
    """Every file's name and content."""
    found = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        found.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return found.hexdigest()


def test_the_documented_folder_and_json_train_and_stay_untouched(tmp_path: Path, hippocampus: Path) -> None:
    source = msd_subset(hippocampus, tmp_path / "Task04", cases=5)
    raw = tmp_path / "work" / "raw" / "Dataset050"
    for folder in ("imagesTr", "labelsTr"):
        (raw / folder).mkdir(parents=True)
        suffix = "_0000.nii.gz" if folder == "imagesTr" else ".nii.gz"
        for path in (source / folder).iterdir():
            shutil.copy(path, raw / folder / path.name.replace(".nii.gz", suffix))
    documented = {
        "name": "Hippocampus",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
        "numTraining": 99,
        "numTest": 0,
    }
    (raw / "dataset.json").write_text(json.dumps(documented), encoding="utf-8")
    before = digest(raw)

    result = Lab(tmp_path / "work", FEW).train(dataset_id=50, **SHORT)

    assert result["status"] == "success", result
    assert result["dataset_name"] == "Dataset050"
    assert digest(raw) == before
    documented_path = tmp_path / "work" / "results" / "Dataset050" / "nnUNetv2_2d" / "fold_0"
    assert (documented_path / "checkpoint_final.pth").samefile(Path(result["model_path"]) / "checkpoint_final.pth")
    assert (documented_path / "checkpoint_best.pth").is_file()


def test_png_images_train_in_2d_and_3d_is_refused_at_once(tmp_path: Path, nuclei: Path) -> None:
    lab = Lab(tmp_path / "work", {**FEW, "NNUNET_MCP_ALLOWED_DIRS": str(nuclei.parent)})
    shutil.copytree(nuclei, tmp_path / "work" / "raw" / nuclei.name)

    with pytest.raises(Exception, match="configuration='2d'"):
        lab.call("nnunet_training", dataset_id=502, fold="0")
    result = lab.train(dataset_id=502, **SHORT)

    assert result["status"] == "success", result
    assert result["per_class"][0]["label"] == "nucleus"


def regions(raw: Path) -> None:
    """Declare the whole hippocampus and its posterior part as overlapping regions."""
    content = json.loads((raw / "dataset.json").read_text(encoding="utf-8"))
    content["labels"] = {"background": 0, "whole": [1, 2], "Posterior": 2}
    content["regions_class_order"] = [1, 2]
    (raw / "dataset.json").write_text(json.dumps(content), encoding="utf-8")


def ignore(raw: Path) -> None:
    """Declare the posterior part to be ignored."""
    content = json.loads((raw / "dataset.json").read_text(encoding="utf-8"))
    content["labels"] = {"background": 0, "Anterior": 1, "ignore": 2}
    (raw / "dataset.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.long
@pytest.mark.parametrize(
    ("declare", "labels"),
    [
        pytest.param(regions, ["whole", "Posterior"], id="overlapping regions"),
        pytest.param(ignore, ["Anterior"], id="an ignore label"),
    ],
)
def test_regions_and_the_ignore_label_work_as_in_nnunet(
    tmp_path: Path, hippocampus: Path, declare: Any, labels: list[str]
) -> None:
    source = msd_subset(hippocampus, tmp_path / "Task04", cases=5)
    lab = Lab(tmp_path / "work", FEW)
    lab.call("nnunet_prepare_dataset", source=str(source), dataset_id=4, name="Hippocampus")
    declare(lab.folder / "raw" / "Dataset004_Hippocampus")

    result = lab.train(dataset_id=4, **SHORT)

    assert result["status"] == "success", result
    assert [line["label"] for line in result["per_class"]] == labels


@pytest.fixture
def patients(hippocampus: Path, tmp_path: Path) -> Path:
    """Hippocampus MRI in a folder per patient; a second sequence is the inverted first, the mask has values 1 and 4."""
    folder = tmp_path / "Müller's study"
    for number, path in enumerate(sorted((hippocampus / "imagesTr").glob("hippocampus_*"))[:PATIENTS], start=1):
        case = f"Pat. Jü {number:02d}-v1.0"
        (folder / case).mkdir(parents=True)
        shutil.copyfile(path, folder / case / f"{case}_t1.nii.gz")
        image, label = nibabel.load(path), nibabel.load(hippocampus / "labelsTr" / path.name)
        voxels, values = numpy.asarray(image.dataobj), numpy.asarray(label.dataobj).astype(numpy.uint8)
        nibabel.save(nibabel.Nifti1Image(voxels.max() - voxels, image.affine), folder / case / f"{case}_flair.nii.gz")
        values[values == 2] = 4
        nibabel.save(nibabel.Nifti1Image(values, label.affine), folder / case / f"{case}_seg.nii.gz")
    return folder


def test_a_folder_per_patient_is_imported_trained_and_predicted_where_its_images_lie(
    patients: Path, tmp_path: Path
) -> None:
    lab = Lab(tmp_path / "work", FEW)
    seen = lab.call("nnunet_prepare_dataset", source=str(patients), dataset_id=4, name="Patients")
    words = ast.parse(seen["layouts"][0]["call"], mode="eval").body
    assert isinstance(words, ast.Call)
    proposed = {word.arg or "": ast.literal_eval(word.value) for word in words.keywords}
    assert proposed["channels"] == ["flair", "t1"] and proposed["label_names"] == ["1=label_1", "4=label_4"]

    imported = lab.call("nnunet_prepare_dataset", **{**proposed, "label_names": ["1=Anterior", "4=Posterior"]})
    assert imported["cases"] == PATIENTS and imported["labels"] == {"background": 0, "Anterior": 1, "Posterior": 2}
    trained = lab.train(
        dataset_id=4, configuration="2d", fold="0", device="cpu", trainer="OneStepTrainer", timeout_s=900
    )
    assert trained["status"] == "success", trained
    images, output = Path(imported["path"]) / "imagesTr", tmp_path / "predicted"
    run = lab.call(
        "nnunet_predict",
        model=str(Path(trained["model_path"]).parent),
        images=str(images),
        output=str(output),
        device="cpu",
    )
    done = lab.finish(run["run_id"], timeout_s=900)

    assert done["status"] == "success", done
    for folder in sorted(patients.iterdir()):
        predicted, image = (
            nibabel.load(output / f"{folder.name}.nii.gz"),
            nibabel.load(folder / f"{folder.name}_t1.nii.gz"),
        )
        assert predicted.shape == image.shape and numpy.allclose(predicted.affine, image.affine, atol=1e-5)
        assert set(numpy.unique(numpy.asarray(predicted.dataobj))) <= {0, 1, 2}
