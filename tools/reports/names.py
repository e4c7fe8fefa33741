"""What a report does not tell: names of cases and patients, and where files lie."""

import re
from collections.abc import Iterable

from ...calls import in_mcp, render
from ...nnunet.splits import patients_of
from ...scrub import without_paths
from ...texts import clean, visible

# So short a name, or so short a number, names nobody, and replacing it would change words and other numbers.
BARE = re.compile(r"\d{1,4}|.{1,2}", re.DOTALL)


class Names:
    """Numbers instead of names, the same in all of a report: "case 7", "patient 3".

    `folders` are the roots of this machine's data. Other absolute paths are cut to their last part.
    """

    def __init__(self, cases: Iterable[str], folders: Iterable[str]) -> None:
        ordered = sorted(set(cases))
        self._cases = {case: f"case {number}" for number, case in enumerate(ordered, 1)}
        patients = sorted(set(patients_of(ordered).values()) - self._cases.keys())
        named = {**{patient: f"patient {number}" for number, patient in enumerate(patients, 1)}, **self._cases}
        # Sentences shorten long names.
        either = {short: new for name, new in named.items() for short in (name, clean(name))}
        self._replaced = {name: new for name, new in either.items() if not BARE.fullmatch(name)}
        roots = "|".join(re.escape(folder) for folder in sorted(folders, key=len, reverse=True))
        self._folders = re.compile(rf"(?<![\w:/.~])(?:{roots})(?![\w-])/?")

    def of_case(self, case: str) -> str:
        return self._cases[case]

    def __call__(self, text: object) -> str:
        """The text as it may be read by anybody, calls written out."""
        said = visible(render(str(text), in_mcp)).replace("file://", "")
        said = without_paths(self._folders.sub("", said))
        found = sorted((name for name in self._replaced if name in said), key=len, reverse=True)
        if found:
            either = "|".join(map(re.escape, found))
            said = re.sub(rf"(?<!\w)(?:{either})(?!\w)", lambda match: self._replaced[match[0]], said)
        return said
