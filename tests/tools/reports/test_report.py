"""A report is one file that loads nothing, names nobody, replaces nothing, and has the numbers of nnU-Net's files."""

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from nnunet_mcp import nnunet_report
from nnunet_mcp.nnunet.scores import interval
from nnunet_mcp.schemas.models import ReportRequest
from nnunet_mcp.schemas.plots import Picture
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.reports.report import nnunet_report as nnunet_report_tool
from tests.kit.lab import ToolRefused
from tests.kit.tiny import JOBS, ask, record_of
from tests.tools.reports.trained import CASES, Trained

HOSTILE = "<script>alert(1)</script>"
VOID = ("meta", "img")


class Page(HTMLParser):
    """What a browser would see: the elements, their attributes and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [str(value) for name, value in attrs if name in ("src", "href", "srcset", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += "" if self.open[-1:] == ["style"] else data


def written(answer: dict[str, Any]) -> str:
    return Path(answer["file"]).read_text(encoding="utf-8")


def without_pictures(text: str) -> str:
    return re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", text)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without the pictures, which take seconds to draw."""
    monkeypatch.setattr("nnunet_mcp.tools.reports.figures.render", lambda picture, settings: b"")


@pytest.mark.heavy
def test_a_comparison_is_one_page_without_names_and_paths_that_loads_nothing(settings: Settings) -> None:
    note = f"Is it better than {CASES[0]}? See /home/doctor/{CASES[1]}/notes.txt and file:///srv/pacs/x {HOSTILE}"
    label = {"background": 0, f"organ {HOSTILE}": 1, "tumour": 2}
    given = {"description": f"From /mnt/hospital/{CASES[2]}.zip {HOSTILE}", "labels": label}
    runs = [
        Trained(description=given, asked={"note": note, "pretrained_weights": "/home/doctor/w.pth"}).on_disk(settings),
        Trained(trainer="nnUNetTrainerDA5", run_id="d005-3d_fullres-f0-uuuu", dice=0.8).on_disk(settings),
    ]

    answer = ask(settings, "nnunet_report", run_ids=runs)
    html = written(answer)
    page = Page(html)

    assert answer["file"] == f"{settings.folder('results')}/Dataset005_Big/reports/{runs[0]}_and_1_more.html"
    assert not page.open and page.tags.count("h2") == 5 and page.tags.count("img") == 7
    assert "script" not in page.tags and HOSTILE in page.text
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    pictures = [base64.b64decode(link.partition(",")[2]) for link in page.links]
    assert all(png.startswith(b"\x89PNG") for png in pictures)
    for told in (without_pictures(html), str(answer).replace(str(answer["file"]), ""), *(str(png) for png in pictures)):
        assert not re.search("MILLER|JOHN|/home|/mnt|/srv|doctor|hospital|pacs", told)
        assert str(settings.folder("results")) not in told
    assert "Is it better than case 1? See notes.txt and x" in page.text
    assert "nnUNetTrainerDA5__nnUNetPlans__3d_fullres is worse" not in page.text, "three cases can show nothing"
    assert "oo few to tell: n = 3 shared cases, a test needs 6" in page.text


@pytest.mark.heavy
def test_markdown_tells_the_same_and_nothing_in_it_is_markup_of_a_stranger(settings: Settings) -> None:
    label = {"background": 0, "a | b": 1, "[x](https://example.org/y) `c` ![z](w)": 2}
    run_id = Trained(description={"labels": label}, folds=("0", "1", "2")).on_disk(settings)

    answer = ask(settings, "nnunet_report", run_ids=[run_id], format="markdown")
    text = without_pictures(written(answer))

    assert answer["file"].endswith(f"reports/{run_id}.md")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows if row.startswith(r"| a \| b")} == {7, 4}
    assert "](https" not in text and "`c`" not in text
    assert "| mean over cases of a case's mean | 0.840 ± 0.009 |" in text
    assert "> Models were trained with nnU-Net v2" in text and "## To cite" in text


def test_a_report_replaces_nothing_and_lies_only_where_results_may(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nnunet_mcp.tools.reports.figures.render", lambda picture, settings: b"\x89PNG")
    run_id = Trained().on_disk(settings)
    first, second = (Path(ask(settings, "nnunet_report", run_ids=[run_id])["file"]) for _ in range(2))
    model = settings.folder("results") / "Dataset005_Big" / "nnUNetTrainer__nnUNetPlans__3d_fullres"

    assert (first.name, second.name) == (f"{run_id}.html", f"{run_id}_2.html") and first.is_file()
    for output, why in (
        (first, "is there already"),
        (first.with_name("report.pdf"), "does not end with"),
        (model / "report.html", "among the models"),
        (settings.folder("raw") / "report.html", "nothing is written to"),
        (tmp_path.parent / "report.html", "outside the allowed folders"),
    ):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(ToolRefused, match=why):
            ask(settings, "nnunet_report", run_ids=[run_id], output=str(output))
        assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(ToolRefused, match=r"does not end with \.md"):
        ask(settings, "nnunet_report", run_ids=[run_id], output=str(first.with_name("x.html")), format="markdown")
    answer = nnunet_report(run_ids=[run_id], output=str(first.with_name("x.md")))
    assert written(answer).startswith("# Dataset005_Big")


@pytest.mark.parametrize(
    ("cases", "named"),
    [(CASES, "MILLER|JOHN"), (tuple(f"{number:04d}" for number in range(17, 26)), "00(?:1[7-9]|2)")],
    ids=["names", "numbers"],
)
def test_what_is_drawn_names_no_case(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, cases: tuple[str, ...], named: str
) -> None:
    monkeypatch.setattr("tests.tools.reports.trained.CASES", cases)
    drawn: list[Picture] = []

    def render(picture: Picture, settings: Settings) -> bytes:
        drawn.append(picture)
        return b""

    monkeypatch.setattr("nnunet_mcp.tools.reports.figures.render", render)

    ask(settings, "nnunet_report", run_ids=[Trained().on_disk(settings)])

    said = [" ".join([one.title, *(case.name for case in getattr(one, "cases", ()))]) for one in drawn]
    assert len(said) == 4 and not re.search(named, " ".join(said))
    assert "Case 7, worst of 3: Dice 0.830 case 7" in said


@pytest.mark.usefixtures("undrawn")
def test_endless_names_and_texts_are_cut(settings: Settings) -> None:
    labels = {"background": 0, "x" * 500: 1, **{f"label {number}": number for number in range(2, 2000)}}
    given = {"labels": labels, "description": "y" * 100_000, "channel_names": {"0": "z" * 500}}

    answer = ask(settings, "nnunet_report", run_ids=[Trained(description=given).on_disk(settings)])

    assert len(answer["methods"]) < 6000 and "and 1959 more" in answer["methods"]
    assert len(written(answer)) < 100_000 and not re.search("x{90}|z{90}|y{600}", written(answer))


@pytest.mark.usefixtures("undrawn")
def test_files_that_are_not_nnunets_are_reported_as_far_as_they_go(settings: Settings) -> None:
    run_id = Trained().on_disk(settings)
    model = settings.folder("results") / "Dataset005_Big" / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    for name, text in (
        ("dataset_fingerprint.json", '{"spacings": [[1]], "shapes_after_crop": [["x"]]}'),
        ("plans.json", '{"configurations": []}'),
        ("dataset.json", "[]"),
        ("fold_0/debug.json", "nothing"),
    ):
        (model / name).write_text(text, "utf-8")

    answer = ask(settings, "nnunet_report", run_ids=[run_id])

    assert len(answer["not_known"]) >= 12 and "Dice 0.840" in Page(written(answer)).text


@pytest.mark.usefixtures("undrawn")
def test_a_busy_machine_leaves_pictures_out_before_hosts_give_up(settings: Settings) -> None:
    request = ReportRequest(run_ids=(Trained().on_disk(settings),))

    answer = nnunet_report_tool(request, settings, patience_s=0)

    assert answer.notes[-1] == "4 pictures left out: the machine was too busy to draw in time."
    page = Page(Path(answer.file).read_text(encoding="utf-8"))
    assert "img" not in page.tags and page.text.count("There is no picture: ") == 4


@pytest.mark.heavy
def test_without_its_images_a_report_says_what_it_could_not_draw(settings: Settings) -> None:
    run_id = Trained().on_disk(settings)
    for image in (settings.folder("raw") / "Dataset005_Big" / "imagesTr").iterdir():
        image.write_bytes(b"no image")

    html = written(ask(settings, "nnunet_report", run_ids=[run_id]))
    page = Page(html)

    assert page.tags.count("img") == 2 and page.text.count("There is no picture: ") == 2
    assert f"nnunet_plot(kind='overlay', run_id='{run_id}') says why" in page.text
    assert not re.search("MILLER|JOHN", without_pictures(html))


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("note", "left"),
    [
        (f"Why is {CASES[6]}_0000.nii.gz bad?", "Why is case 7_0000.nii.gz bad?"),
        (f"pred_{CASES[6]}_v2.nii.gz, {CASES[6]}0", f"pred_case 7_v2.nii.gz, {CASES[6]}0"),
        ("As /home/hans/Meier's Clinic/Study X/w.pth, not 1/2", "As w.pth, not 1/2"),
        ("{raw}/Clinic Meier/x y.nii and '{raw}/a b/c': /srv/Clinic Meier/z", "x y.nii and 'c': z"),
        (r"\\nas\Clinic Meier\w.pth or C:\Clinic Meier\v.pth", "w.pth or v.pth"),
        ("In:{raw}//x y/a and https://example.org/a b/c", "In:a and https://example.org/a b/c"),
    ],
)
def test_a_note_keeps_its_words_but_no_name_of_a_case_or_folder(settings: Settings, note: str, left: str) -> None:
    run_id = Trained(asked={"note": note.format(raw=settings.folder("raw"))}).on_disk(settings)

    text = Page(written(ask(settings, "nnunet_report", run_ids=[run_id]))).text

    assert f"Question: {left}\n" in text


@pytest.mark.usefixtures("undrawn")
def test_a_number_is_a_case_only_in_the_words_of_others(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = ("12345", "22222", *(f"9000{number}" for number in range(7)))
    monkeypatch.setattr("tests.tools.reports.trained.CASES", numbers)
    trained = Trained(
        trainer="nnUNetTrainer_seed12345",
        asked={"changes": ["seed=12345"], "note": "Why is 22222 bad?"},
        noted={"num_iterations_per_epoch": "1", "num_epochs": "22222"},
        epochs=22222,
        description={"description": "Without 12345_0000.nii.gz"},
    )

    answer = ask(settings, "nnunet_report", run_ids=[trained.on_disk(settings)])
    text = Page(written(answer)).text

    assert "with seed 12345." in text and "(22,222 steps)" in text and "for 22222 epochs" in text
    assert "Why is case 2 bad?" in text and "Without case 1_0000.nii.gz" in answer["methods"]
    assert "Without 12345" not in text


@pytest.mark.usefixtures("undrawn")
def test_the_call_that_repeats_a_training_leaves_out_what_was_asked_of_one_run(settings: Settings) -> None:
    once = {"continue_training": True, "after": "d005-2d-f0-prev", "note": "again", "engine": "local"}
    weights = {"pretrained_weights": "/srv/Clinic Meier/Study, new/w.pth", "npz": True}
    runs = [
        Trained(asked=once).on_disk(settings),
        Trained(asked=weights, trainer="nnUNetTrainerDA5", run_id="d005-3d_fullres-f0-uuuu").on_disk(settings),
    ]

    text = Page(written(ask(settings, "nnunet_report", run_ids=runs))).text

    assert "nnunet_training(dataset_id=5, fold='0')\n" in text
    assert "fold='0', pretrained_weights='w.pth', npz=true)" in text


@pytest.mark.usefixtures("undrawn")
def test_the_mean_over_classes_and_the_mean_over_cases_are_told_apart(settings: Settings) -> None:
    """One of three cases lacks the tumour: class means 0.9 and 0.3, case means 0.5, 0.7 and 0.9."""
    run_id = Trained().on_disk(settings)
    model = settings.folder("results") / "Dataset005_Big" / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    file = model / "fold_0" / "validation" / "summary.json"
    summary = json.loads(file.read_text(encoding="utf-8"))
    for entry, tumour in zip(summary["metric_per_case"], (0.1, 0.5, None), strict=True):
        entry["metrics"]["1"]["Dice"], entry["metrics"]["2"]["Dice"] = 0.9, tumour
    file.write_text(json.dumps(summary), "utf-8")

    answer = ask(settings, "nnunet_report", run_ids=[run_id])
    text = Page(written(answer)).text

    assert "Dice 0.600 (nnU-Net's mean over classes)" in answer["says"][0]
    assert "mean over cases of a case's mean0.700" in text and "mean of classes" not in text
    assert "the overall Dice is nnU-Net's, the mean over classes of these means" in answer["methods"]


def test_a_run_that_measured_nothing_or_lost_its_model_is_refused(settings: Settings) -> None:
    from nnunet_mcp.runs.layout import StateDir
    from nnunet_mcp.runs.store import record_run

    run_id = Trained().on_disk(settings)
    fold = settings.folder("results") / "Dataset005_Big" / "nnUNetTrainer__nnUNetPlans__3d_fullres" / "fold_0"
    for number, job in enumerate(JOBS[:2]):
        record = record_of(settings, run_id=f"d001-other-{number}").model_copy(update={"job": job})
        record_run(StateDir.of(settings), record, [], repeat_window_s=0)
        with pytest.raises(ToolRefused, match="is no training"):
            ask(settings, "nnunet_report", run_ids=[record.run_id])
    (fold / "nnunet_mcp_run.txt").write_text("d005-3d_fullres-f0-next", "utf-8")
    with pytest.raises(ToolRefused, match=f"Fold 0 of run {run_id} now holds what run d005-3d_fullres-f0-next trained"):
        ask(settings, "nnunet_report", run_ids=[run_id])
    (fold / "nnunet_mcp_run.txt").write_text(run_id, "utf-8")
    (fold / "validation" / "summary.json").unlink()
    with pytest.raises(ToolRefused, match="no validated fold with a checkpoint yet"):
        ask(settings, "nnunet_report", run_ids=[run_id])


def test_the_interval_of_a_mean_draws_patients_as_the_comparison_does() -> None:
    values: dict[str, float | None] = {f"p{number}": number / 10 for number in range(10)}
    alone, pairs = {case: case for case in values}, {case: str(int(case[1]) // 2) for case in values}

    low, high = interval(values, alone) or (0, 0)
    wide = interval(values, pairs) or (0, 0)

    assert 0.25 < low < 0.3 and 0.6 < high < 0.65 and interval(values, alone) == (low, high)
    assert wide[1] - wide[0] > high - low
    assert interval({"a": 0.5, "b": None}, {"a": "a", "b": "b"}) is None


def test_a_result_and_a_comparison_lead_to_a_report(settings: Settings) -> None:
    runs = [
        Trained().on_disk(settings),
        Trained(trainer="nnUNetTrainerDA5", run_id="d005-3d_fullres-f0-uuuu").on_disk(settings),
    ]

    assert f"nnunet_report(run_ids=[{json.dumps(runs[0])}])" in results(settings, runs[0])
    assert f"nnunet_report(run_ids={json.dumps(runs)})" in ask(settings, "nnunet_compare", run_ids=runs)["next_step"]


def results(settings: Settings, run_id: str) -> str:
    return str(ask(settings, "nnunet_results", run_id=run_id)["next_step"])
