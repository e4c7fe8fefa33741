"""From a folder as people have it to a prediction: two sequences and a mask per patient, in folders with odd names."""

import ast
import shutil
from pathlib import Path

import nibabel
import numpy
import pytest

from tests.kit.lab import FEW, Lab

pytestmark = pytest.mark.heavy
CASES = 6


@pytest.fixture
def patients(hippocampus: Path, tmp_path: Path) -> Path:
    """Hippocampus MRI in a folder per patient; a second sequence is the inverted first, the mask has values 1 and 4."""
    folder = tmp_path / "Müller's study"
    for number, path in enumerate(sorted((hippocampus / "imagesTr").glob("hippocampus_*"))[:CASES], start=1):
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
    assert imported["cases"] == CASES and imported["labels"] == {"background": 0, "Anterior": 1, "Posterior": 2}
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
