"""A zip with a model is judged before a byte of it is unpacked; what is hostile or not nnU-Net's is refused."""

import io
import json
import stat
import zipfile
from pathlib import Path

import pytest

from nnunet_mcp.nnunet.model_zip import open_zip, read_contents
from nnunet_mcp.nnunet.models import model_at
from nnunet_mcp.settings import Settings
from tests.kit.lab import ToolRefused
from tests.kit.tiny import ask, make_dataset

DATASET, MODEL = "Dataset066_Loop", "nnUNetTrainer__nnUNetPlans__2d"
FILES = {
    f"{DATASET}/{MODEL}/plans.json": b"{}",
    f"{DATASET}/{MODEL}/dataset.json": b"{}",
    f"{DATASET}/{MODEL}/dataset_fingerprint.json": b"{}",
    f"{DATASET}/{MODEL}/fold_0/checkpoint_final.pth": b"weights",
    f"{DATASET}/{MODEL}/fold_0/progress.png": b"",
    f"{DATASET}/{MODEL}/fold_0/debug.json": b"{}",
    f"{DATASET}/{MODEL}/fold_0/validation/summary.json": b"{}",
    f"{DATASET}/{MODEL}/fold_0/validation/case 1.nii.gz": b"",
    f"{DATASET}/{MODEL}/crossval_results_folds_0/postprocessing.pkl": b"",
    f"{DATASET}/ensembles/ensemble___a__b__c___d__e__f___0/summary.json": b"{}",
    f"{DATASET}/inference_information.json": b"{}",
}


def pack(settings: Settings, *entries: tuple[str | zipfile.ZipInfo, bytes], without: str = "-") -> Path:
    """A zip that nnU-Net could have written, with more entries or without some."""
    path = settings.folder("results") / "model.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in FILES.items():
            if without not in name:
                archive.writestr(name, content)
        for entry, content in entries:
            archive.writestr(entry, content)
    return path


def refused(settings: Settings, path: Path, message: str) -> None:
    before = sorted(settings.folder("results").rglob("*"))
    with pytest.raises(ToolRefused, match=message):
        ask(settings, "nnunet_import_model", zip=str(path))
    assert sorted(settings.folder("results").rglob("*")) == before


def test_the_files_of_nnunets_own_export_pass(settings: Settings) -> None:
    path = pack(settings)

    with open_zip(path) as archive:
        contents = read_contents(archive, path.stat().st_size)

    assert (contents.dataset, contents.models, contents.folds) == (DATASET, (MODEL,), [f"{MODEL}/fold_0"])
    assert contents.pieces == ["ensembles/ensemble___a__b__c___d__e__f___0", "inference_information.json", MODEL]


def test_a_model_of_plans_with_underscores_in_their_name_is_one_in_a_zip_and_as_a_folder(settings: Settings) -> None:
    model = "PretrainedTrainer__ptPlans__MAE____Norm__Z__3d_fullres"
    content = {
        "plans.json": json.dumps({"dataset_name": DATASET, "configurations": {}}).encode(),
        "dataset.json": b"{}",
    }
    files = {
        f"{DATASET}/{model}/{name}": text for name, text in {**content, "fold_0/checkpoint_final.pth": b""}.items()
    }
    path = pack(settings, *files.items())
    for name, text in files.items():
        (settings.folder("results") / name).parent.mkdir(parents=True, exist_ok=True)
        (settings.folder("results") / name).write_bytes(text)

    with open_zip(path) as archive:
        assert model in read_contents(archive, path.stat().st_size).models
    assert (
        model_at(settings.folder("results") / DATASET / model, settings.folders).name.plans == "ptPlans__MAE____Norm__Z"
    )
    with pytest.raises(ToolRefused, match=f"Inside it are {model}"):
        ask(settings, "nnunet_export_model", model=DATASET)


@pytest.mark.parametrize(
    "name",
    [
        "../evil.json",
        f"{DATASET}/../../evil.json",
        "/etc/passwd",
        f"{DATASET}//plans.json",
        f"{DATASET}/./plans.json",
        "C:/evil.json",
        f"{DATASET}\\..\\evil.json",
    ],
)
def test_a_name_that_leads_out_is_refused(settings: Settings, name: str) -> None:
    refused(settings, pack(settings, (name, b"")), "would be written outside")


@pytest.mark.parametrize(
    "name",
    [
        f"{DATASET}/{MODEL}/run.sh",
        f"{DATASET}/{MODEL}/fold_0/nnUNetTrainer.py",
        f"{DATASET}/{MODEL}/fold_x/checkpoint_final.pth",
        f"{DATASET}/{MODEL}/fold_0/checkpoint_latest.pth",
        f"{DATASET}/{MODEL}/.hidden",
        f"{DATASET}/other/plans.json",
        f"{DATASET}/nnunet_mcp.json",
        f"{DATASET}/{MODEL}/fold_0/validation/run.pkl",
        f"{DATASET}/{'a' * 300}__b__c/plans.json",
    ],
)
def test_a_file_that_nnunet_does_not_export_is_refused_by_name(settings: Settings, name: str) -> None:
    refused(settings, pack(settings, (name, b"")), "not among the files that nnU-Net exports")


def linked(name: str, kind: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o777) << 16
    return info


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(settings: Settings, kind: int) -> None:
    entry = linked(f"{DATASET}/{MODEL}/fold_1/checkpoint_final.pth", kind)

    refused(settings, pack(settings, (entry, b"/etc/passwd")), "is a link or a device")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", [f"{DATASET}/{MODEL}/plans.json", f"{DATASET}/{MODEL}/Plans.json"])
def test_two_names_for_one_file_are_refused(settings: Settings, name: str) -> None:
    refused(settings, pack(settings, (name, b"{}")), "which are one file here")


def test_a_zip_that_grows_a_thousandfold_is_refused(settings: Settings) -> None:
    bomb = (f"{DATASET}/{MODEL}/fold_1/checkpoint_final.pth", bytes(50 * 2**20))

    refused(settings, pack(settings, bomb), r"would grow from \d+ to \d+ bytes")


def test_entries_that_share_their_data_are_refused(settings: Settings) -> None:
    path = pack(settings, (f"{DATASET}/{MODEL}/fold_1/checkpoint_final.pth", bytes(range(256)) * 40))
    with zipfile.ZipFile(path, "a") as archive:
        one = next(info for info in archive.infolist() if "fold_1" in info.filename)
        for fold in range(2, 40):
            twin = zipfile.ZipInfo(one.filename.replace("fold_1", f"fold_{fold}"))
            for field in ("header_offset", "compress_size", "file_size", "CRC", "compress_type"):
                setattr(twin, field, getattr(one, field))
            archive.filelist.append(twin)
        vars(archive)["_didModify"] = True

    refused(settings, path, "overlap")


@pytest.mark.parametrize("lacking", ["2d/plans.json", "2d/dataset.json", "checkpoint_final"])
def test_half_a_model_is_refused(settings: Settings, lacking: str) -> None:
    refused(settings, pack(settings, without=lacking), "lacks plans.json, dataset.json or fold_X/checkpoint_final.pth")


def test_no_zip_no_dataset_and_several_are_refused(settings: Settings) -> None:
    text = settings.folder("results") / "text.zip"
    text.write_text("PK but no zip", encoding="utf-8")
    refused(settings, text, "no zip that can be read")
    refused(settings, pack(settings, ("Dataset067_Other/dataset.json", b"{}")), "one folder DatasetXXX_Name at its top")
    empty = settings.folder("results") / "empty.zip"
    empty.write_bytes(_empty())
    refused(settings, empty, "this one has nothing")


def _empty() -> bytes:
    stream = io.BytesIO()
    zipfile.ZipFile(stream, "w").close()
    return stream.getvalue()


def test_a_zip_elsewhere_is_not_read(settings: Settings, tmp_path: Path) -> None:
    refused(settings, tmp_path / "model.zip", "outside the allowed folders")


def test_a_model_that_is_there_and_an_id_that_is_taken_are_refused_with_the_way_on(settings: Settings) -> None:
    path = pack(settings)
    there = settings.folder("results") / DATASET / MODEL
    there.mkdir(parents=True)
    (there / "plans.json").write_text(json.dumps({}), encoding="utf-8")
    refused(settings, path, f"{MODEL} already. overwrite=true puts aside")

    there.parent.rename(settings.folder("results") / "away")
    make_dataset(settings.folder("raw"), "Dataset066_Mine")
    refused(settings, path, r"id 066 is already used by Dataset066_Mine here.*nnunet_predict\(model\)")
