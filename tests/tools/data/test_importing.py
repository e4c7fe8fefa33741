"""nnunet_prepare_dataset: a valid dataset or nothing at all, and the source stays as it was."""

import json
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy
import pytest
from PIL import Image

from nnunet_mcp.errors import NotFound, Refused, RunError, Unavailable
from nnunet_mcp.nnunet.cases import file_problems
from nnunet_mcp.nnunet.dataset_json import read_description
from nnunet_mcp.schemas.datasets import Prepared, PrepareRequest
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.data import importing
from nnunet_mcp.tools.data.import_copies import Copy
from nnunet_mcp.tools.data.importing import nnunet_prepare_dataset
from tests.kit.lab import ToolRefused
from tests.kit.tiny import ask, digest, image, make_dataset, save


def bring(source: Path | str, *, dataset_id: int = 7, name: str = "Brought") -> Prepared:
    return nnunet_prepare_dataset(PrepareRequest(source=str(source), dataset_id=dataset_id, name=name), Settings())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def nothing_left(settings: Settings) -> bool:
    return names(settings.folder("raw")) == []


def test_msd_images_get_channel_numbers_and_the_source_stays_untouched(downloads: Path) -> None:
    source = make_dataset(downloads, "Task01_Block", style="msd")
    before = digest(source)

    answer = bring(source)

    folder = Path(answer.path)
    assert answer.dataset_name == "Dataset007_Brought" and answer.cases == 5
    assert names(folder / "imagesTr") == [f"case_{n:03d}_0000.nii.gz" for n in range(5)]
    assert names(folder / "labelsTr") == [f"case_{n:03d}.nii.gz" for n in range(5)]
    assert digest(source) == before


@pytest.mark.parametrize("style", ["v2", "documented", "msd"])
def test_every_style_becomes_a_dataset_without_problems(downloads: Path, style: str) -> None:
    source = make_dataset(downloads, "Source", channels=2, style=style)  # type: ignore[arg-type]

    folder = Path(bring(source).path)

    description = read_description(folder)
    assert description.changes == [] and file_problems(folder, description) == []
    assert not {"training", "test", "tensorImageSize", "modality"} & set(description.content)


def test_a_4d_image_becomes_one_file_per_channel_with_its_values_and_its_place(downloads: Path) -> None:
    source = make_dataset(downloads, "Task01_Brain", channels=3, cases=1, style="msd")
    whole = nibabel.load(source / "imagesTr" / "case_000.nii.gz")

    brought = bring(source)

    assert "1 image split into a file for each channel" in brought.changes
    folder = Path(brought.path)
    for channel in range(3):
        part = nibabel.load(folder / "imagesTr" / f"case_000_{channel:04d}.nii.gz")
        assert part.shape == whole.shape[:3]
        assert numpy.array_equal(part.get_fdata(), whole.get_fdata()[..., channel])
        assert numpy.allclose(part.affine, whole.affine)
        assert numpy.allclose(part.header.get_zooms(), whole.header.get_zooms()[:3])


def test_scaled_values_of_a_4d_image_stay_what_they_are(downloads: Path) -> None:
    source = make_dataset(downloads, "Task01_Brain", channels=2, cases=1, style="msd")
    path = source / "imagesTr" / "case_000.nii.gz"
    header = nibabel.Nifti1Image(numpy.zeros((6, 7, 8, 2), numpy.int16), numpy.eye(4)).header
    header.set_slope_inter(0.5, 100)
    values = numpy.arange(6 * 7 * 8 * 2).reshape(6, 7, 8, 2)
    nibabel.save(nibabel.Nifti1Image(values.astype(numpy.int16), numpy.eye(4), header), path)
    whole = nibabel.load(path).get_fdata()

    folder = Path(bring(source).path)

    for channel in range(2):
        part = nibabel.load(folder / "imagesTr" / f"case_000_{channel:04d}.nii.gz").get_fdata()
        assert numpy.allclose(part, whole[..., channel], atol=0.01)


def test_a_4d_image_with_other_channels_than_declared_is_refused_by_name(settings: Settings, downloads: Path) -> None:
    source = make_dataset(downloads, "Task01_Brain", channels=2, style="msd")
    save(source / "imagesTr" / "case_003.nii.gz", image())

    with pytest.raises(Refused, match=r"case_003\.nii\.gz has 1 channel"):
        bring(source)
    assert nothing_left(settings)


def test_a_4d_image_with_more_channels_than_declared_is_refused_by_name(settings: Settings, downloads: Path) -> None:
    source = make_dataset(downloads, "Task01_Brain", channels=2, style="msd")
    save(source / "imagesTr" / "case_003.nii.gz", numpy.stack([image()] * 3, axis=-1))

    with pytest.raises(Refused, match=r"case_003\.nii\.gz has 3 channel"):
        bring(source)
    assert nothing_left(settings)


def test_test_images_come_along(downloads: Path) -> None:
    source = make_dataset(downloads, "Task01_Block", style="msd")
    (source / "imagesTs").mkdir()
    save(source / "imagesTs" / "unknown_1.nii.gz", image())

    answer = bring(source)

    assert answer.test_cases == 1
    assert names(Path(answer.path) / "imagesTs") == ["unknown_1_0000.nii.gz"]


def test_macos_resource_forks_are_left_behind(downloads: Path) -> None:
    source = make_dataset(downloads, "Task01_Block", style="msd")
    for folder in ("imagesTr", "labelsTr"):
        (source / folder / "._case_000.nii.gz").write_bytes(b"\x00\x05\x16\x07")
        (source / folder / ".DS_Store").write_bytes(b"Bud1")

    answer = bring(source)

    assert answer.cases == 5
    assert not list(Path(answer.path).rglob(".*"))


def test_links_in_the_source_become_files(downloads: Path) -> None:
    source = make_dataset(downloads, "Task01_Block", style="msd")
    target = downloads / "elsewhere.nii.gz"
    linked = source / "imagesTr" / "case_000.nii.gz"
    linked.rename(target)
    linked.symlink_to(target)

    copied = Path(bring(source).path) / "imagesTr" / "case_000_0000.nii.gz"

    assert not copied.is_symlink() and copied.read_bytes() == target.read_bytes()


@pytest.mark.parametrize("damage", [b"", b"garbage", "cut"])
def test_an_unreadable_image_is_named_and_nothing_is_left(
    settings: Settings, downloads: Path, damage: bytes | str
) -> None:
    source = make_dataset(downloads, "Task01_Brain", channels=2, style="msd")
    broken = source / "imagesTr" / "case_002.nii.gz"
    broken.write_bytes(broken.read_bytes()[:60] if isinstance(damage, str) else damage)

    with pytest.raises(RunError, match=r"case_002\.nii\.gz"):
        bring(source)
    assert nothing_left(settings)


def test_a_taken_id_names_its_dataset(settings: Settings, downloads: Path) -> None:
    make_dataset(settings.folder("raw"), "Dataset007_Old")

    with pytest.raises(Refused, match=r"007 is taken by Dataset007_Old.*Choose another id, or ask the person"):
        bring(make_dataset(downloads, "Task01_Block", style="msd"))
    assert names(settings.folder("raw")) == ["Dataset007_Old"]


@pytest.mark.parametrize("folder", ["imagesTr", "labelsTr"])
def test_a_source_without_images_or_labels_is_refused(settings: Settings, downloads: Path, folder: str) -> None:
    source = make_dataset(downloads, "Task01_Block", style="msd")
    for path in (source / folder).iterdir():
        path.unlink()

    with pytest.raises(Refused, match=folder):
        bring(source)
    assert nothing_left(settings)


def test_a_source_outside_the_allowed_folders_is_refused_with_the_way_out(settings: Settings, tmp_path: Path) -> None:
    source = make_dataset(tmp_path / "private", "Task01_Block", style="msd")

    with pytest.raises(Refused, match=r"outside the allowed folders.*NNUNET_MCP_ALLOWED_DIRS"):
        bring(source)


def test_a_link_does_not_lead_out_of_the_allowed_folders(downloads: Path, tmp_path: Path) -> None:
    make_dataset(tmp_path / "private", "Task01_Block", style="msd")
    (downloads / "innocent").symlink_to(tmp_path / "private" / "Task01_Block")

    with pytest.raises(Refused, match="outside the allowed folders"):
        bring(downloads / "innocent")


@pytest.mark.parametrize("part", ["imagesTr", "labelsTr/case_000.nii.gz", "dataset.json"])
def test_a_link_inside_the_source_does_not_lead_out_either(
    settings: Settings, downloads: Path, tmp_path: Path, part: str
) -> None:
    source = make_dataset(downloads, "Task01_Block", style="msd")
    secret = tmp_path / "private" / Path(part).name
    secret.parent.mkdir()
    (source / part).rename(secret)
    (source / part).symlink_to(secret)

    with pytest.raises(Refused, match="outside the allowed folders"):
        bring(source)
    assert nothing_left(settings)


@pytest.mark.parametrize(
    "path",
    ["{downloads}/../private", "{downloads}/Task01_Block/../../private", "/etc", "/", "..", "~", "private"],
)
def test_paths_that_lead_elsewhere_are_refused(downloads: Path, tmp_path: Path, path: str) -> None:
    make_dataset(downloads, "Task01_Block", style="msd")
    (tmp_path / "private").mkdir()

    with pytest.raises(Refused, match="outside the allowed folders"):
        bring(path.format(downloads=downloads))


@pytest.mark.parametrize("path", ["", "   ", "a\0b", "\0"])
def test_what_is_no_path_is_refused(settings: Settings, path: str) -> None:
    with pytest.raises(Refused, match="is not a path"):
        bring(path)


def test_what_is_not_there_or_no_folder_is_said_so(downloads: Path) -> None:
    (downloads / "file.zip").write_bytes(b"PK")

    with pytest.raises(NotFound, match="does not exist"):
        bring(downloads / "missing")
    with pytest.raises(NotFound, match="is not a folder"):
        bring(downloads / "file.zip")
    with pytest.raises(NotFound, match=r"dataset\.json does not exist"):
        bring(downloads)


@pytest.mark.parametrize("name", ["-rf", "/abs", "../up", "a/b", "", ".hidden", "a b", "ä", "x" * 81, "a\0", "a\n"])
def test_a_name_that_is_no_plain_name_is_refused(settings: Settings, downloads: Path, name: str) -> None:
    with pytest.raises(ToolRefused, match="name"):
        ask(Settings(), "nnunet_prepare_dataset", source=str(downloads), dataset_id=7, name=name)
    assert nothing_left(settings)


@pytest.mark.parametrize("name", ["my data", "ümlaut & 'quotes'", "-leading", "semi;colon $(touch x)"])
def test_odd_folder_names_are_no_obstacle(downloads: Path, name: str) -> None:
    answer = bring(make_dataset(downloads, name, style="msd"))

    assert answer.cases == 5


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_raw_folder_is_said_so(settings: Settings, downloads: Path) -> None:
    source = make_dataset(downloads, "Task01_Block", style="msd")
    settings.folder("raw").chmod(0o555)
    try:
        with pytest.raises((Unavailable, OSError)):
            bring(source)
    finally:
        settings.folder("raw").chmod(0o755)
    assert nothing_left(settings)


def test_progress_is_told_through_the_tool(downloads: Path) -> None:
    source = make_dataset(downloads, "Task01_Block", style="msd")

    answer = ask(Settings(), "nnunet_prepare_dataset", source=str(source), dataset_id="007", name="Brought")

    assert answer["dataset_id"] == 7
    assert answer["labels"] == {"background": 0, "block": 1}
    assert "nnunet_training(dataset_id=7" in answer["next_step"]


def test_the_real_hippocampus_task_is_imported(
    settings: Settings, hippocampus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NNUNET_MCP_ALLOWED_DIRS", str(hippocampus))
    expected = len(json.loads((hippocampus / "dataset.json").read_text(encoding="utf-8"))["training"])

    answer = bring(hippocampus)

    assert answer.cases == expected
    assert answer.labels == {"background": 0, "Anterior": 1, "Posterior": 2}


def number_as_amos(folder: Path) -> Path:
    """Images and labels are both called amos_0001.nii.gz, as in the AMOS data."""
    for number, path in enumerate(sorted((folder / "imagesTr").iterdir())):
        label = folder / "labelsTr" / path.name.replace("_0000", "")
        path.rename(path.with_name(f"amos_{number + 1:04d}.nii.gz"))
        label.rename(label.with_name(f"amos_{number + 1:04d}.nii.gz"))
    return folder


@pytest.mark.parametrize("channels", [1, 2])
def test_a_number_that_is_the_cases_own_is_no_channel_number(downloads: Path, channels: int) -> None:
    source = number_as_amos(make_dataset(downloads, "AMOS", style="msd", channels=channels))
    (source / "imagesTs").mkdir()
    shutil.copy(source / "imagesTr" / "amos_0001.nii.gz", source / "imagesTs" / "amos_0007.nii.gz")

    answer = bring(source)

    folder, numbers = Path(answer.path), range(channels)
    assert (answer.cases, answer.test_cases) == (5, 1)
    assert names(folder / "imagesTr") == [f"amos_{n:04d}_{c:04d}.nii.gz" for n in range(1, 6) for c in numbers]
    assert names(folder / "labelsTr") == [f"amos_{n:04d}.nii.gz" for n in range(1, 6)]
    assert names(folder / "imagesTs") == [f"amos_0007_{c:04d}.nii.gz" for c in numbers]


def test_in_place_such_names_are_a_problem_with_the_new_name(settings: Settings) -> None:
    number_as_amos(make_dataset(settings.folder("raw"), "Dataset007_AMOS"))

    (line,) = ask(settings, "nnunet_datasets")["datasets"]

    (problem,) = line["problems"]
    assert "amos_0001.nii.gz becomes amos_0001_0000.nii.gz" in problem and line["cases"] == 5


def test_cases_that_end_in_four_digits_are_taken_as_they_are(settings: Settings) -> None:
    folder = make_dataset(settings.folder("raw"), "Dataset007_Numbered")
    for path in [*(folder / "imagesTr").iterdir(), *(folder / "labelsTr").iterdir()]:
        path.rename(path.with_name(path.name.replace("case_", "case_0")))

    assert file_problems(folder, read_description(folder)) == []


def pictures(downloads: Path, *, channels: int, size: int) -> Path:
    """Unnumbered PNG images of `size` colours."""
    source = make_dataset(downloads, "Pictures", channels=channels)
    for folder, name in ((source / part, part) for part in ("imagesTr", "labelsTr")):
        shutil.rmtree(folder)
        folder.mkdir()
        for number in range(5):
            shape = (16, 16, size) if name == "imagesTr" and size > 1 else (16, 16)
            pixels = numpy.random.default_rng(number).integers(0, 2, shape, dtype=numpy.uint8)
            Image.fromarray(pixels).save(folder / f"im{number}.png")
    change(source, file_ending=".png")
    return source


def change(folder: Path, **fields: object) -> None:
    path = folder / "dataset.json"
    content = {**json.loads(path.read_text(encoding="utf-8")), **fields}
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_stay_together_in_one_file_as_nnunet_reads_them(downloads: Path, channels: int) -> None:
    source = pictures(downloads, channels=channels, size=channels)

    folder = Path(bring(source).path)

    assert names(folder / "imagesTr") == [f"im{number}_0000.png" for number in range(5)]
    assert (folder / "imagesTr" / "im0_0000.png").read_bytes() == (source / "imagesTr" / "im0.png").read_bytes()


def test_other_pictures_than_colours_need_a_file_for_each_channel(downloads: Path) -> None:
    with pytest.raises(Refused, match=r"only NIfTI images are split.*CASE_0000\.png"):
        bring(pictures(downloads, channels=2, size=1))


def test_the_spacing_of_a_tiff_comes_along(downloads: Path) -> None:
    source = make_dataset(downloads, "Stacks", channels=2)
    for path in [*(source / "imagesTr").iterdir(), *(source / "labelsTr").iterdir()]:
        path.rename(path.with_name(path.name.replace(".nii.gz", ".tiff")))
        for beside in (source / "imagesTr", source / "labelsTr"):
            (beside / f"{path.name[:8]}.json").write_text('{"spacing": [3, 1, 1]}', encoding="utf-8")
    change(source, file_ending=".tiff")

    folder = Path(bring(source).path)

    expected = [f"case_{number:03d}.json" for number in range(5)]
    for part in ("imagesTr", "labelsTr"):
        assert sorted(path.name for path in (folder / part).glob("*.json")) == expected


def test_two_files_that_would_become_one_are_refused(settings: Settings, downloads: Path) -> None:
    source = make_dataset(downloads, "Task01_Block", style="msd")
    shutil.copy(source / "imagesTr" / "case_000.nii.gz", source / "imagesTr" / "case_000_0000.nii.gz")

    with pytest.raises(Refused, match=r"would become imagesTr/case_000_0000\.nii\.gz"):
        bring(source)
    assert nothing_left(settings)


@contextmanager
def under_way(source: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An import that stays where it is until the block ends."""
    begun, go_on = threading.Event(), threading.Event()
    bring_one = importing._bring

    def slowly(copy: Copy, target: Path, allowed: Sequence[Path]) -> None:
        begun.set()
        assert "Slow" not in str(target) or go_on.wait(30)
        bring_one(copy, target, allowed)

    monkeypatch.setattr(importing, "_bring", slowly)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(bring, source, name="Slow")
        try:
            assert begun.wait(30)
            yield
        finally:
            go_on.set()
        assert first.result(30).cases == 5


def test_an_id_that_is_being_imported_is_taken(
    settings: Settings, downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_dataset(downloads, "Task01_Block", style="msd")

    with under_way(source, monkeypatch), pytest.raises(Refused, match=r"being imported as Slow\. Choose another id"):
        bring(source, name="Slower")
    assert names(settings.folder("raw")) == ["Dataset007_Slow"]


def test_an_import_of_a_server_with_other_results_is_left_alone(
    settings: Settings, downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_dataset(downloads, "Task01_Block", style="msd")

    with under_way(source, monkeypatch):
        monkeypatch.setenv("nnUNet_results", str(downloads / "other results"))
        with pytest.raises(Refused, match=r"being imported as Slow\. Choose another id"):
            bring(source, name="Slower")
    killed = settings.folder("raw") / ".importing-Dataset008_Killed-1"
    killed.mkdir()
    bring(source, dataset_id=8)
    assert names(settings.folder("raw")) == ["Dataset007_Slow", "Dataset008_Brought"]


def test_the_same_import_again_is_told_that_it_is_under_way(
    settings: Settings, downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_dataset(downloads, "Task01_Block", style="msd")

    with under_way(source, monkeypatch), pytest.raises(Refused, match=r"already under way\. nnunet_datasets lists"):
        bring(source, name="Slow")
    assert names(settings.folder("raw")) == ["Dataset007_Slow"]


def test_another_id_is_imported_meanwhile(settings: Settings, downloads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_dataset(downloads, "Task01_Block", style="msd")

    with under_way(source, monkeypatch):
        bring(source, dataset_id=8)
    assert names(settings.folder("raw")) == ["Dataset007_Slow", "Dataset008_Brought"]


def test_cases_of_another_ending_are_named_as_not_imported(downloads: Path) -> None:
    source = make_dataset(downloads, "Mixed")
    for path in (source / "imagesTr" / "case_004_0000.nii.gz", source / "labelsTr" / "case_004.nii.gz"):
        save(path.with_suffix(""), image())
        path.unlink()

    answer = bring(source)

    assert answer.cases == 4
    assert (
        "not imported, because they do not end in .nii.gz: imagesTr/case_004_0000.nii, labelsTr/case_004.nii"
        in answer.changes
    )
