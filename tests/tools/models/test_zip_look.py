"""A look into a zip before it is installed: what it says, and what a stranger may have made of it."""

import io
import json
import pickle
import shutil
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from nnunet_mcp.nnunet.variants.in_checkpoints import said_in
from nnunet_mcp.settings import Settings
from tests.kit.lab import Answer, ToolRefused
from tests.kit.strangers import sample, small
from tests.kit.tiny import ask, digest, make_dataset

DATASET = "Dataset066_Loop"
DESCRIPTION: dict[str, Any] = {
    "channel_names": {"0": "MRI"},
    "labels": {"background": 0, "liver": 1},
    "file_ending": ".nii.gz",
}


def checkpoint(trainer: str = "nnUNetTrainer", **more: Any) -> bytes:
    """As torch.save writes it, without the tensors."""
    return stored(pickle.dumps({"network_weights": {}, "init_args": {}, "trainer_name": trainer, **more}, 2))


def stored(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("checkpoint_final/data.pkl", content)
    return stream.getvalue()


def pack(settings: Settings, models: dict[str, dict[str, bytes]]) -> Path:
    """A zip with these models; what is not given is as nnU-Net writes it."""
    usual = {
        "plans.json": json.dumps({**small(sample()), "dataset_name": DATASET}).encode(),
        "dataset.json": json.dumps(DESCRIPTION).encode(),
        "fold_0/checkpoint_final.pth": checkpoint(),
        "fold_0/validation/summary.json": b'{"foreground_mean": {"Dice": 0.75}}',
    }
    path = settings.folder("results") / "model.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for model, files in models.items():
            for name, content in (usual | files).items():
                archive.writestr(f"{DATASET}/{model}/{name}", content)
    return path


def look(settings: Settings, models: dict[str, dict[str, bytes]], **arguments: Any) -> Answer:
    path = pack(settings, models)
    before = digest(settings.folder("results"))
    answer = ask(settings, "nnunet_import_model", zip=str(path), look=True, **arguments)
    assert digest(settings.folder("results")) == before and "run_id" not in answer
    return answer


def test_a_look_tells_what_a_zip_holds_and_installs_nothing(settings: Settings) -> None:
    lean = checkpoint(nnunet_mcp_without_optimizer=True)
    theirs = {"fold_0/checkpoint_final.pth": checkpoint("TheirTrainer"), "TheirTrainer.py.txt": b"class TheirTrainer"}

    answer = look(
        settings,
        {
            "TheirTrainer__nnUNetPlans__2d": theirs,
            "nnUNetTrainer_bs4__nnUNetPlans__2d": {"fold_0/checkpoint_final.pth": lean},
        },
    )

    first, second = answer["contents"]["models"]
    assert (first["trainer"], first["whose"]) == ("TheirTrainer", "not here")
    assert "class 'TheirTrainer' of this model is not here" in " ".join(first["problems"])
    assert first["trainer_text"] in " ".join(answer["notes"]) and "Let the person read it" in " ".join(answer["notes"])
    assert (second["trainer"], second["whose"], second["problems"]) == ("nnUNetTrainer", "nnU-Net's", [])
    assert (second["folds"], second["dice"], second["resumable"]) == (["0"], 0.75, False)
    assert (second["network"], second["patch_size"]) == ("PlainConvUNet", [16, 16])
    found = answer["contents"]
    assert (found["dataset_name"], found["channels"], found["labels"]) == (DATASET, ["MRI"], ["background", "liver"])
    assert f"nnunet_import_model(zip='{settings.folder('results') / 'model.zip'}')" in answer["next_step"]


def test_a_look_says_whether_the_images_fit_and_whether_something_is_in_the_way(settings: Settings) -> None:
    images = make_dataset(settings.folder("raw"), "Dataset066_Mine") / "imagesTr"
    model: dict[str, dict[str, bytes]] = {"nnUNetTrainer__nnUNetPlans__2d": {}}

    fitting = look(settings, model, images=str(images))
    shutil.rmtree(images)
    images.mkdir()
    (images / "x.png").touch()
    others = look(settings, model, images=str(images))

    assert fitting["contents"]["cases"] == 5 and "id 066 is already used by Dataset066_Mine" in fitting["next_step"]
    assert others["contents"]["cases"] == 0 and "a picture; the model takes volumes: x.png" in " ".join(others["notes"])
    with pytest.raises(ToolRefused, match="images goes with look=true"):
        ask(settings, "nnunet_import_model", zip="x.zip", images=str(images))


EVIL: dict[str, tuple[str, Any, str]] = {
    "plans that name code": (
        "plans.json",
        json.dumps({**small(sample()), "image_reader_writer": "subprocess.Popen"}).encode(),
        "not as nnU-Net v2 writes plans",
    ),
    "plans without end": ("plans.json", b"[" * 100_000, "no readable JSON|not readable JSON"),
    "numbers without end": ("dataset.json", b'{"labels": ' + b"9" * 5000 + b"}", "not readable JSON"),
    "a description that is a list": ("dataset.json", b"[]", "not readable JSON"),
    "a description without an ending": (
        "dataset.json",
        json.dumps({"channel_names": {"0": "MRI"}, "labels": {"background": 0}}).encode(),
        "dataset.json in the zip lacks file_ending",
    ),
    "plans of another configuration": (
        "plans.json",
        json.dumps({**small(sample()), "dataset_name": DATASET, "configurations": {}}).encode(),
        "Its plans have no 2d.",
    ),
    "a checkpoint that is none": ("fold_0/checkpoint_final.pth", b"PK\3\4" + b"\xff" * 99, "does not name its trainer"),
    "a pickle of millions of opcodes": (
        "fold_0/checkpoint_final.pth",
        stored(b"".join(b"K%cK%c" % (n % 251, n % 241) + bytes([75, n % 239]) + b"0" * 5 for n in range(900_000))),
        "does not name its trainer",
    ),
    "a pickle that calls": (
        "fold_0/checkpoint_final.pth",
        stored(b"\x80\x02cos\nsystem\nX\x05\0\0\0touch\x85R."),
        "does not name its trainer",
    ),
}


@pytest.mark.parametrize("name", EVIL)
def test_what_a_stranger_made_of_a_zip_is_told_in_words_and_does_nothing(settings: Settings, name: str) -> None:
    file, content, said = EVIL[name]
    begun = time.monotonic()

    answer = look(settings, {"nnUNetTrainer__nnUNetPlans__2d": {file: content}})

    assert any(word in " ".join(answer["contents"]["models"][0]["problems"]) for word in said.split("|")), answer
    assert "Tell the person the problems" in answer["next_step"]
    assert answer["contents"].get("file_ending", "") == ("" if file == "dataset.json" else ".nii.gz")
    assert time.monotonic() - begun < 20


def test_the_trainer_is_found_whatever_number_the_pickle_gives_its_name() -> None:
    for texts in range(0x180):  # the numbers 0x71, 0x72, 0x171 and 0x172 look like the letters q and r
        stream = io.BytesIO(checkpoint(init_args=[f"text {number}" for number in range(texts)]))

        assert said_in(stream).trainer == "nnUNetTrainer", texts


def test_a_zip_of_thousands_of_names_and_folds_has_a_short_answer(settings: Settings) -> None:
    long = "a\nb " * 100
    many = {
        **DESCRIPTION,
        "channel_names": {str(number): f"{number} {long}" for number in range(1000)},
        "labels": {"background": 0, **{f"{number} {long}": number for number in range(1, 1000)}},
    }
    folds = {f"fold_{number}/checkpoint_final.pth": checkpoint() for number in range(1, 2000)}
    dice = {f"fold_{number}/validation/summary.json": b'{"foreground_mean": {"Dice": 0}}' for number in range(10, 2000)}
    of_first = {
        f"fold_{number}/validation/summary.json": b'{"foreground_mean": {"Dice": 0.75}}' for number in range(10)
    }

    files = {"dataset.json": json.dumps(many).encode(), **folds, **dice, **of_first}
    answer = look(settings, {"nnUNetTrainer__nnUNetPlans__2d": files}, images=str(settings.folder("raw")))

    (model,), found = answer["contents"]["models"], answer["contents"]
    assert len(json.dumps(answer, ensure_ascii=False)) < 12_000 and "\n" not in "".join(
        (*found["channels"], *found["labels"])
    )
    assert model["folds"] == [*map(str, range(10)), "and 1990 more"] and model["dice"] == 0.75
    assert (len(found["channels"]), found["channels"][-1]) == (61, "and 940 more")
