"""Why did a stage die? A catalogue of nnU-Net's real deaths, matched against the end of the stage's log.

The last error line is usually a consequence: when nnU-Net's main process ends for any reason, a helper
thread prints "One or more background workers are no longer alive". So causes are listed in the order in
which they are to be believed, and that line comes last.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from ..schemas.runs import Failure
from .texts import masked, short, visible

LOG_WINDOW = 256 * 1024
EVIDENCE_CHARACTERS = 400


@dataclass(frozen=True)
class Signature:
    """A text that proves a cause. Named groups of the pattern can be used in cause and remedy."""

    name: str
    pattern: str
    cause: str
    remedy: str


SIGNATURES = (
    Signature(
        "shared memory",
        r"unable to (?:open|allocate) shared memory|unable to write to file </torch_|Bus error|"
        r"No space left on device: '/dev/shm",
        "shared memory (/dev/shm) is too small",
        "Start the container with a larger --shm-size or --ipc=host, or set nnUNet_n_proc_DA=1.",
    ),
    Signature(
        "disk full",
        r"\[Errno 28\]|No space left on device|Disk quota exceeded|PytorchStreamWriter failed writing|"
        r"inline_container\.cc[^\n]*unexpected pos",
        "the disk is full",
        "Free space in the nnU-Net folders (nnunet_system shows them), then continue_training=true.",
    ),
    Signature(
        "read-only disk",
        r"\[Errno 30\]|Read-only file system",
        "a folder the run writes to is read-only",
        "Make the nnU-Net folders writable, then start the request again.",
    ),
    Signature(
        "cuda out of memory",
        r"(?:CUDA|MPS backend) out of memory|torch\.OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED",
        "the GPU ran out of memory",
        "Free the GPU of other processes, use a smaller preset (nnUNetPlans or nnUNetResEncUNetMPlans), or "
        "configuration='2d'; then continue_training=true.",
    ),
    Signature(
        "unexpected labels",
        r"Unexpected labels found in file (?P<file>[^\n]+?)\.?\s*\nExpected: (?P<expected>[^\n]+)\s*\n"
        r"Found: (?P<found>[^\n]+)",
        "the label file {file} has values {found}; dataset.json declares {expected}",
        "Correct the label file, or declare the missing values in dataset.json (consecutive, from 0).",
    ),
    Signature(
        "shape mismatch",
        r"Error: Shape mismatch between segmentation and corresponding images\.\s*\n"
        r"Shape images: (?P<image>[^\n]+?)\.?\s*\nShape seg: (?P<label>[^\n]+?)\.?\s*\n[\s\S]*?"
        r"Seg file: (?P<file>[^\n]+)",
        "image and label of {file} have different shapes: {image} and {label}",
        "Resample or re-export the label so that it has its image's grid.",
    ),
    Signature(
        "spacing mismatch",
        r"Error: Spacing mismatch between segmentation and corresponding images\.\s*\n"
        r"Spacing images: (?P<image>[^\n]+?)\.?\s*\nSpacing seg: (?P<label>[^\n]+?)\.?\s*\n[\s\S]*?"
        r"Seg file: (?P<file>[^\n]+)",
        "image and label of {file} have different spacings: {image} and {label}",
        "Correct the spacing in the header that is wrong, or resample the label to its image's grid.",
    ),
    Signature(
        "channels",
        r"Error: Unexpected number of modalities\.\s*\nExpected: (?P<expected>\d+)\.\s*\nGot: (?P<found>\d+)\.\s*\n"
        r"Images: (?P<files>[^\n]+)",
        "dataset.json declares {expected} channels; {found} were found in {files}",
        "Add the missing channel files, or correct channel_names in dataset.json.",
    ),
    Signature(
        "nan in a label",
        r"Segmentation contains NaN pixel values[^\n]*\nSegmentation:\s*\n(?P<file>[^\n]+)",
        "the label file {file} contains values that are not numbers",
        "Export the label again with whole numbers.",
    ),
    Signature(
        "labels not consecutive",
        r"Labels must be in consecutive order[^\n]*",
        "the labels in dataset.json are not consecutive",
        "Number the labels 0, 1, 2, … without gaps, in dataset.json and in the label files.",
    ),
    Signature(
        "missing labels",
        r"not all training cases have a label file in labelsTr[^\n]*Missing: (?P<missing>[^\n]+)",
        "label files are missing: {missing}",
        "Add the label files to labelsTr, or remove the images without labels.",
    ),
    Signature(
        "unreadable image",
        r'Unable to determine ImageIO reader for "(?P<file>[^"\n]+)"',
        "the image {file} cannot be read",
        "Export the file again; it is empty, truncated or not of the format its name says.",
    ),
    Signature(
        "missing file",
        r'sitk::ERROR: The file "(?P<file>[^"\n]+)" does not exist',
        "the file {file} does not exist",
        "Add the missing image or label file, or remove its case.",
    ),
    Signature(
        "not orthonormal",
        r"ITK only supports orthonormal direction cosines",
        "the axes of an image are not at right angles, which nnU-Net's reader does not accept",
        "Resample the image to a grid without shear, or correct the orientation (sform, qform) in its header.",
    ),
    Signature(
        "itk error",
        r"(?:ITK ERROR|sitk::ERROR)[^\n]*",
        "an image cannot be read",
        "Export the file that the evidence names again; it is truncated or of another format.",
    ),
    Signature(
        "index out of bounds",
        r"index \d+ is out of bounds for dimension 1 with size \d+|device-side assert triggered|ScatterGatherKernel",
        "a label value lies outside what dataset.json declares",
        "Run again with verify_dataset_integrity=true: it names the label file.",
    ),
    Signature(
        "labels changed",
        r"KeyError: \(-1, [^\n]*\)",
        "the labels were changed after preprocessing",
        "Preprocess again: call nnunet_training without no_preprocessing.",
    ),
    Signature(
        "missing lowres prediction",
        r"(?P<file>\S*predicted_next_stage/\S+?\.b2nd)",
        "the cascade lacks a 3d_lowres prediction: {file}",
        "Train all folds of 3d_lowres with the same trainer and plans (fold='all'), then the cascade.",
    ),
    Signature(
        "configuration not planned",
        r"Requested configuration (?P<wanted>\S+) not found in plans\. Available configurations: (?P<known>\[[^\]]*\])",
        "the plans have no configuration {wanted}; they have {known}",
        "Choose one of these. nnU-Net plans 3d_lowres and the cascade only for large images.",
    ),
    Signature(
        "truncated checkpoint",
        r"PytorchStreamReader failed|EOFError: Ran out of input|failed finding central directory",
        "a checkpoint file is damaged (its saving was cut off)",
        "Rename the damaged checkpoint; continue_training=true then takes the one before it.",
    ),
    Signature(
        "torchvision mismatch",
        r"operator torchvision::nms does not exist|No module named 'torchvision'",
        "torch and torchvision do not fit together, so nnU-Net cannot load other trainers than its default",
        "Install the torchvision release that belongs to the installed torch.",
    ),
    Signature(
        "no gpu",
        r"Torch not compiled with CUDA enabled|Found no NVIDIA driver|Cannot access accelerator device|"
        r"not linked with support for mps",
        "the requested device is not available to PyTorch here",
        "Use device='cpu', or install the PyTorch build for this machine's GPU.",
    ),
    Signature(
        "nnU-Net missing",
        r"ModuleNotFoundError: No module named '(?P<module>nnunetv2|torch|nnunet_mcp)'",
        "the worker's Python has no package {module}",
        "Install nnunet-mcp with its dependencies there, or set NNUNET_MCP_WORKER_PYTHON to a Python that has it.",
    ),
    Signature(
        "trainer signature",
        r"self\.my_init_kwargs\[k\] = locals\(\)\[k\][\s\S]{0,200}KeyError: '(?P<name>\w+)'",
        "the trainer class does not name nnU-Net's arguments ({name})",
        "Give its __init__ the arguments plans, configuration, fold, dataset_json and device by name.",
    ),
    Signature(
        "compile failed",
        r"BackendCompilerFailed|Cannot find a working triton installation|Triton Error",
        "torch.compile failed",
        "Set the environment variable nnUNet_compile=f for the server and start again.",
    ),
    Signature(
        "nccl",
        r"Watchdog caught collective operation timeout|ProcessGroupNCCL",
        "one of the GPUs' processes died or fell behind",
        "Look for the first error in the log; training folds on single GPUs (num_gpus=1) avoids it.",
    ),
    Signature(
        "versions",
        r"No module named 'distutils'|module 'numpy' has no attribute 'isdtype'|Error while creating the NDArray",
        "installed packages do not fit together",
        "Install the versions that nnunet-mcp was tested with (constraints.txt).",
    ),
    Signature(
        "too few cases",
        r"Cannot have number of splits n_splits=5 greater than the number of samples[^\n]*",
        "there are fewer than five training cases, so there are no five folds",
        "Use fold='full' (one model on every case), or put a splits_final.json into the raw dataset folder.",
    ),
    Signature(
        "host memory",
        r"(?m:^(?:\w+\.)*\w*MemoryError\b[^\n]*)|Cannot allocate memory|DefaultCPUAllocator: can't allocate memory",
        "the machine ran out of memory",
        "Close other programs, or lower nnUNet_def_n_proc and nnUNet_n_proc_DA; then continue_training=true.",
    ),
    Signature(
        "worker exception",
        r"Exception in background worker \d+:\s*\n+\s*(?P<text>[^\n]+)",
        "a data-loading process failed: {text}",
        "Correct what the text names. If a preprocessed file is missing, preprocess again.",
    ),
    Signature(
        "preprocessing worker gone",
        r"Some background worker is 6 feet under",
        "a preprocessing process was killed, nearly always because memory ran out",
        "Set nnUNet_def_n_proc=1 for the server, or free memory; then start again.",
    ),
)

# What the worker itself understood, told by a process that could not write the outcome: that of one of several GPUs.
OWN_WORDS = Signature(
    "stage failure",
    r"(?m:^(?:\w+\.)*StageFailure: (?P<cause>[^\n]+) \((?P<shown>[^()\n]*)\)\. (?P<remedy>[^\n]+)$)",
    "{cause}",
    "{remedy}",
)
# Printed by a helper thread whenever the main process ends for any reason, so it is believed last.
CONSEQUENCE = Signature(
    "workers gone",
    r"background workers are no longer alive|Segmentation export worker died|Background workers died",
    "a helper process was killed, nearly always because memory (or /dev/shm) ran out",
    "Lower nnUNet_n_proc_DA and nnUNet_def_n_proc, or free memory; then continue_training=true.",
)
# What the other processes say when one of them has gone.
ECHOES = re.compile(f"{CONSEQUENCE.pattern}|^(?:BrokenPipe|ConnectionReset|EOF)Error|^KeyboardInterrupt")
EXCEPTION = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt|Failure)\b(?:: [^\n]*)?$", re.MULTILINE)


# The worker's exit code where the disk has no room even for the reason.
DISK_EXIT_CODE = 74


def disk_failure(evidence: str) -> Failure:
    """The failure of a stage that could not write."""
    return Failure(
        cause="a disk is full or read-only",
        evidence=evidence,
        remedy="Free space (nnunet_system shows the folders) or make the folder writable; then start the request "
        "again with continue_training=true, or without it if no epoch was trained.",
    )


def diagnose(log: Path, *, code: int, stalled_s: float | None = None) -> Failure:
    """Name the cause of a stage's death from its exit code and the end of its log."""
    text = read_end(log, LOG_WINDOW)
    if stalled_s is not None:
        return _stalled(text, stalled_s)
    if code == DISK_EXIT_CODE:
        return disk_failure("the stage could not even write down why it ended")
    for signature in (OWN_WORDS, *SIGNATURES):
        if match := re.search(signature.pattern, text):
            return _from_match(signature, match)
    own = [match for match in EXCEPTION.finditer(text) if not ECHOES.search(match[0])]
    if not own and (match := re.search(CONSEQUENCE.pattern, text)):
        return _from_match(CONSEQUENCE, match)
    return _killed(code, text) if code < 0 else _unknown(code, text[: own[-1].end()] if own else text)


def read_end(path: Path, size: int) -> str:
    """The last `size` bytes of a text file as text; empty where there is none."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - size))
            return stream.read().decode("utf-8", errors="replace").replace("\r", "\n")
    except OSError:
        return ""


def _from_match(signature: Signature, match: "re.Match[str]") -> Failure:
    values = {name: _brief(value.strip()) for name, value in match.groupdict(default="").items()}
    return Failure(
        cause=signature.cause.format(**values),
        evidence=_brief(" ".join(match[0].split())),
        remedy=signature.remedy.format(**values),
    )


def _killed(code: int, text: str) -> Failure:
    memory = " (the kernel kills with signal 9 when memory runs out)" if code == -9 else ""
    return Failure(
        cause=f"the process was killed by signal {-code}{memory}",
        evidence=last_words(text),
        remedy="Call nnunet_training with the same arguments and continue_training=true to go on.",
    )


def _stalled(text: str, seconds: float) -> Failure:
    return Failure(
        cause=f"the stage did nothing for {seconds:.0f} s: no progress, no output, no CPU time",
        evidence=last_words(text),
        remedy="A helper process was probably killed for lack of memory. Lower nnUNet_def_n_proc, then start the "
        "request again with continue_training=true.",
    )


def _unknown(code: int, text: str) -> Failure:
    return Failure(
        cause=f"unknown: the process ended with exit code {code} and left no result",
        evidence=last_words(text),
        remedy="Read the log with nnunet_logs(mode='tail').",
    )


def last_words(text: str) -> str:
    """The last lines that say something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return _brief(" | ".join(lines[-3:])) or "the log is empty"


def _brief(text: str) -> str:
    return short(masked(visible(text[: 4 * EVIDENCE_CHARACTERS])), EVIDENCE_CHARACTERS)
