"""Images under their own names, written as an import writes them, so that nnU-Net reads each as CASE_0000."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ...allowed_paths import readable_file
from ...image_files import PICTURES, list_files
from ...schemas.datasets import SourceFile, Writing
from ...schemas.jobs import Originals
from ...settings import Settings
from ..asks.conversion.facts import facts_of
from ..asks.conversion.writing import write
from .checks import COLOURS, THREADS

Files = tuple[SourceFile, ...]


def original_files(asked: Originals, settings: Settings) -> tuple[dict[str, Files], dict[str, str]]:
    """The files of each case, listed again; and of each case that lacks one by now, why it cannot be predicted."""
    listed, series = list_files(Path(asked.folder), settings).files, {"series": asked.series}
    gone = {case: name for case, names in asked.cases.items() for name in names if name not in listed}
    there = {
        case: tuple(listed[name].model_copy(update=series) for name in names)
        for case, names in asked.cases.items()
        if case not in gone
    }
    return there, {case: f"{name} is no longer there" for case, name in gone.items()}


class Inputs:
    """The images of some cases in a folder of their own, in the format that the model was trained on."""

    def __init__(self, folder: Path, ending: str, channels: int, settings: Settings) -> None:
        self.folder, self.ending, self.channels, self.settings = folder, ending, channels, settings
        self.allowed = list(settings.allowed_roots)

    def make(
        self, cases: Mapping[str, Files], tell: Callable[[int], None]
    ) -> tuple[dict[str, list[str]], dict[str, str]]:
        """Write those of all cases; returns the files of each, and why some cannot be used."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        faults: dict[str, str] = {}
        with ThreadPoolExecutor(THREADS) as pool:
            for done, (case, fault) in enumerate(zip(cases, pool.map(self._bring, cases.items()), strict=True), 1):
                faults |= {case: fault} if fault else {}
                tell(done)
        return {case: self._targets(case, files) for case, files in cases.items() if case not in faults}, faults

    def _targets(self, case: str, files: Files) -> list[str]:
        """Of a cascade, nnU-Net takes the name before _0000 for that of the first segmentation.

        Source: nnunetv2 2.8.1, inference/predict_from_raw_data.py:191.
        """
        count = 1 if self.ending in PICTURES and len(files) == 1 else self.channels
        return [str(self.folder / f"{case}_{number:04d}{self.ending}") for number in range(count)]

    def _bring(self, one: tuple[str, Files]) -> str:
        """Write the files of a case; returns what is wrong with them."""
        case, files = one
        targets = self._targets(case, files)
        share = len(targets) // len(files)
        for number, file in enumerate(files):
            if fault := self._write(file, targets[number * share : (number + 1) * share], len(files)):
                return fault
        return ""

    def _write(self, file: SourceFile, targets: Sequence[str], files: int) -> str:
        if len(file.paths) == 1 and len(targets) == 1 and self._is_read_where_it_lies(file):
            Path(targets[0]).symlink_to(readable_file(Path(file.paths[0]), self.settings))
            return ""
        writing = Writing(sources=(file,), targets=tuple(targets))
        if self.ending in PICTURES:
            wanted = COLOURS.get(self.channels // files, "")
            if fault := self._of_other_colours(file, wanted):
                return fault
            writing = writing.model_copy(update={"picture": wanted})
        elif len(targets) > 1 and (held := facts_of(file, self.allowed).channels) != len(targets):
            return f"it holds {held} channels, the model takes {len(targets)}"
        return write(writing, self.folder, self.allowed).error

    def _is_read_where_it_lies(self, file: SourceFile) -> bool:
        return self.ending != ".png" and file.name.endswith(self.ending)

    def _of_other_colours(self, file: SourceFile, wanted: str) -> str:
        """Why the picture would lose something as what the model takes."""
        facts = facts_of(file, self.allowed)
        if facts.error or facts.picture not in COLOURS.values():
            return facts.error or "it is no picture"
        if wanted == "grey" and facts.picture != "grey" and not facts.alike:
            return "it is coloured, and the model takes grey pictures"
        if wanted == "RGB" and facts.picture == "RGBA" and not facts.opaque:
            return "it is transparent in places, and the model takes RGB"
        return "" if wanted else f"the model takes {self.channels} colours"
