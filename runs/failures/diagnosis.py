"""Why a stage died: signatures of known failures, searched in the end of its log.

The last error line is usually a consequence: when nnU-Net's main process ends for any reason, a helper thread prints
"One or more background workers are no longer alive". So the signatures have an order, the most certain cause first, and
that line is the last.
"""

import re
import signal
from pathlib import Path

from ...files import open_plain
from ...schemas.records import COMPILING, TICKING, Failure
from ...texts import masked, short, visible
from .gpu_signatures import OF_GPUS
from .signatures import NATIVE_CRASH, OF_DISKS, OF_THE_REST, Signature

LOG_WINDOW = 256 * 1024
EVIDENCE_CHARACTERS = 400
# How much of a long line is shown in front of the matching words.
BEFORE_CHARACTERS = 80

SIGNATURES = (*OF_DISKS, *OF_GPUS, *OF_THE_REST)

# The worker's own words for its failure, printed by a process that could not write the outcome: one of several GPUs'.
OWN_WORDS = Signature(
    "stage failure",
    r"(?m:^(?:\w+\.)*StageFailure: (?P<cause>[^\n]+) \((?P<shown>[^()\n]*)\)\. (?P<remedy>[^\n]+)$)",
    "{cause}",
    "{remedy}",
)
# Printed by a helper thread whenever the main process ends for any reason, so it counts last.
CONSEQUENCE = Signature(
    "workers gone",
    r"background workers are no longer alive|Segmentation export worker died|Background workers died",
    "a helper process was killed, nearly always because memory (or /dev/shm) ran out",
    "Lower nnUNet_n_proc_DA and nnUNet_def_n_proc, or free memory.",
    resume=True,
)
# What the other processes print when one of them has died.
ECHOES = re.compile(f"{CONSEQUENCE.pattern}|^(?:BrokenPipe|ConnectionReset|EOF)Error|^KeyboardInterrupt")
EXCEPTION = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt|Failure)\b(?:: [^\n]*)?$", re.MULTILINE)
# Lines that are no failure, because something else was tried and worked. The CUDA warning counts only if there is no
# GPU.
HARMLESS = re.compile(
    r"^[^\n]*(?:Ignoring this choice|CUDA initialization: (?![\s\S]*No CUDA GPUs are available))[^\n]*\n?", re.MULTILINE
)
CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)
NUMPY = re.compile(r"\bnp\.\w+\((-?[\w.]+)\)")
# The blanks of a signature's cause that quote what others named, or a text that may.
NAMING = re.compile(r"\{(?:file|files|missing|text)\}")
FRAME = re.compile(r'\s*File "(?P<file>[^"\n]+)", line \d+')
# Whose code raised it is of no help, if the person's own called it. Our own code is in nnunet_mcp/, also in a checkout.
OTHERS_CODE = re.compile(r"/site-packages/|/dist-packages/|/lib/python3|/nnunet_mcp/|<frozen|<string>")


# The worker's exit code if the disk is too full even for the outcome.
DISK_EXIT_CODE = 74


def disk_failure(evidence: str) -> Failure:
    """The failure of a stage that could not write."""
    return Failure(
        cause="a disk is full or read-only",
        evidence=evidence,
        remedy="Free space, or make the folder writable.",
        resume=True,
    )


def diagnose(log: Path, *, code: int, stalled_s: float | None = None, phase: str = "") -> Failure:
    """Name the cause of a stage's death from its exit code and the end of its log. If it stalled, the phase decides."""
    text = HARMLESS.sub("", read_end(log, LOG_WINDOW))
    if stalled_s is not None:
        return _hung(text, stalled_s, phase) if phase in (*TICKING, COMPILING) else _stalled(text, stalled_s)
    if code == DISK_EXIT_CODE:
        return disk_failure("the stage could not even write down why it ended")
    for signature in (OWN_WORDS, *SIGNATURES):
        if match := _said(signature, text):
            return _from_match(signature, match)
    own = [match for match in EXCEPTION.finditer(text) if not ECHOES.search(match[0])]
    if not own and (match := re.search(CONSEQUENCE.pattern, text)):
        return _from_match(CONSEQUENCE, match)
    return _killed(code, text) if code < 0 else _unknown(code, text, own[-1] if own else None)


def read_end(path: Path, size: int) -> str:
    """The last `size` bytes of a text file as text; empty where there is no file to read."""
    try:
        with open_plain(path) as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - size))
            return stream.read().decode("utf-8", errors="replace").replace("\r", "\n")
    except OSError:
        return ""


def _said(signature: Signature, text: str) -> "re.Match[str] | None":
    """The match of a signature. Indented lines, which a traceback quotes from source code, are the second choice."""
    found = list(re.finditer(signature.pattern, text))
    return next((match for match in found if not _lines_of(match)[0].isspace()), found[0] if found else None)


def _from_match(signature: Signature, match: "re.Match[str]") -> Failure:
    values = {name: _brief(_plain(value.strip())) for name, value in match.groupdict(default="").items()}
    return Failure(
        cause=_filled(signature.cause, values),
        evidence=_brief(_plain(" ".join(_lines_of(match).split()))),
        remedy=_filled(signature.remedy, values),
        resume=signature.resume,
    )


def _filled(text: str, values: dict[str, str]) -> str:
    """The text with its blanks filled in from the pattern; other braces, as in a call, stay."""
    return re.sub(r"\{(\w+)\}", lambda blank: values.get(blank[1], blank[0]), text)


def without_quotes(cause: str) -> str:
    """The cause in its signature's own words, with "(names)" for the files and cases that it quotes."""
    for signature in SIGNATURES:
        if NAMING.search(signature.cause) and (match := re.fullmatch(_as_pattern(signature.cause), cause, re.DOTALL)):
            return _filled(NAMING.sub("(names)", signature.cause), match.groupdict())
    return cause


def _as_pattern(template: str) -> str:
    """What the template with any words in its blanks fits."""
    words = re.split(r"\{(\w+)\}", template)
    return "".join(f"(?P<{word}>.+)" if place % 2 else re.escape(word) for place, word in enumerate(words))


def _lines_of(match: "re.Match[str]") -> str:
    """The whole lines of a match: the rest of the line often has the numbers."""
    text, (start, end) = match.string, match.span()
    begin, stop = text.rfind("\n", 0, start) + 1, text.find("\n", end)
    return text[max(begin, start - BEFORE_CHARACTERS) : stop if stop >= 0 else len(text)]


def _killed(code: int, text: str) -> Failure:
    memory = " (the kernel kills with signal 9 when memory runs out)" if code == -9 else ""
    crashed = -code in CRASHES
    return Failure(
        cause=f"native code crashed ({signal.Signals(-code).name})"
        if crashed
        else f"the process was killed by signal {-code}{memory}",
        evidence=last_words(text),
        remedy=NATIVE_CRASH if crashed else "Free memory, if that was short. Then the run can go on.",
        resume=True,
    )


def _hung(text: str, seconds: float, phase: str) -> Failure:
    return Failure(
        cause=f"the stage hung while it was {phase}: no step ended for {seconds:.0f} s and more",
        evidence=last_words(text),
        remedy="A GPU, its driver or a file system that does not answer is likely: look at nvidia-smi and the kernel's "
        "log (dmesg).",
        resume=True,
    )


def _stalled(text: str, seconds: float) -> Failure:
    return Failure(
        cause=f"the stage did nothing for {seconds:.0f} s: no progress, no output, no CPU time",
        evidence=last_words(text),
        remedy="A helper process was probably killed for lack of memory. Lower nnUNet_def_n_proc.",
        resume=True,
    )


def _unknown(code: int, text: str, exception: "re.Match[str] | None") -> Failure:
    return Failure(
        cause=f"unknown: the process ended with exit code {code} and left no result",
        evidence=_with_its_frame(exception) if exception else last_words(text),
        remedy="Read the end of the log, and correct what it names.",
    )


def _with_its_frame(exception: "re.Match[str]") -> str:
    """The exception, then the place: the last one in the person's own files, else where it was raised.

    The exception comes first, because short answers show only the beginning.
    """
    lines = exception.string[: exception.start()].splitlines()
    frames = [(line.strip(), found["file"]) for line in lines if (found := FRAME.match(line))]
    own = [line for line, file in frames if not OTHERS_CODE.search(file)]
    return _brief(" | ".join([exception[0].strip(), *(own or [line for line, _ in frames])[-1:]]))


def raised(traceback: str) -> str | None:
    """The exception that ends a traceback, then the place: of the person's own files, else the last one."""
    found = [match for match in EXCEPTION.finditer(traceback) if not ECHOES.search(match[0])]
    return _with_its_frame(found[-1]) if found else None


def _plain(text: str) -> str:
    """Numbers as people write them: 7 for np.int64(7)."""
    return NUMPY.sub(r"\1", text)


def last_words(text: str) -> str:
    """The last lines that say something; a traceback marks places with lines of ^ and ~."""
    lines = [line.strip() for line in text.splitlines() if line.strip(" ^~")]
    return _brief(" | ".join(lines[-3:])) or "the log is empty"


def _brief(text: str) -> str:
    return short(masked(visible(text[: 4 * EVIDENCE_CHARACTERS])), EVIDENCE_CHARACTERS)
