"""What a report does not tell: names of cases and patients, and where files lie."""

import re
from collections.abc import Iterable, Mapping

from ...calls import Call, in_mcp, render
from ...nnunet.splits import patients_of
from ...texts import clean, visible

# So short a name, or so short a number, names nobody, and replacing it would change words and other numbers.
BARE = re.compile(r"\d{1,4}|.{1,2}", re.DOTALL)
# Folders have spaces. So all up to the last "/" before a quote, comma, bracket or line's end counts as folders: rather
# a word too few in a note than a folder in the report. An apostrophe within a word is no quote.
FOLDERS = r"(?:(?:[^\\/\n'\",;:?<>|]|(?<=\w)'(?=\w))*[^\s\\/'\",;:?<>|][\\/]+)*"
ABSOLUTE = rf"(?:~[^\s~\\/'\",;:]*|/+[^\s\\/'\",;:]+|\\|[A-Za-z]:)[\\/]+{FOLDERS}"
START = r"(?<![\w/.~])(?!(?<=:)//)"  # not within a relative path or a URL


class Names:
    """Numbers instead of names, the same in all of a report: "case 7", "patient 3".

    Absolute paths are cut to their last part; `folders` are the roots of this machine's data, which may have spaces.
    """

    def __init__(self, cases: Iterable[str], folders: Iterable[str]) -> None:
        ordered = sorted(set(cases))
        self._cases = {case: f"case {number}" for number, case in enumerate(ordered, 1)}
        patients = sorted(set(patients_of(ordered).values()) - self._cases.keys())
        named = {**{patient: f"patient {number}" for number, patient in enumerate(patients, 1)}, **self._cases}
        # Sentences shorten long names.
        either = {short: new for name, new in named.items() for short in (name, clean(name))}
        self._replaced = {name: new for name, new in either.items() if not BARE.fullmatch(name)}
        self._worded = {name: new for name, new in self._replaced.items() if any(map(str.isalpha, name))}
        longest_first = sorted(folders, key=len, reverse=True)
        roots = [rf"{re.escape(folder)}(?![\w-])(?:[\\/]+{FOLDERS})?" for folder in longest_first]
        self._folders = re.compile(rf"{START}(?:{'|'.join([*roots, ABSOLUTE])})")

    def of_case(self, case: str) -> str:
        return self._cases[case]

    def __call__(self, text: object) -> str:
        """The text as it may be read by anybody, calls written out."""
        return self._without(self._replaced, text)

    def own(self, text: object) -> str:
        """The same for a sentence of the program's own: a number in it, as a seed, is no case that is named so."""
        return self._without(self._worded, text)

    def _without(self, names: Mapping[str, str], text: object) -> str:
        said = visible(render(str(text), _with_file_names)).replace("file://", "")
        said = self._folders.sub("", said)
        found = sorted((name for name in names if name in said), key=len, reverse=True)
        if found:
            either = "|".join(map(re.escape, found))
            # Files of a case go on with "_": CASE_0000.nii.gz.
            said = re.sub(rf"(?<![^\W_])(?:{either})(?![^\W_])", lambda match: names[match[0]], said)
        return said


def _with_file_names(one: Call) -> str:
    """The call with the last part of each path."""
    return in_mcp(Call(one.tool, {name: _last_part(value) for name, value in one.arguments.items()}))


def _last_part(value: object) -> object:
    return re.split(r"[\\/]", value)[-1] if isinstance(value, str) else value
