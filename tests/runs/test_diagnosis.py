"""Every known death of nnU-Net is recognised by its real text; the cause is never a mere consequence."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy
import pytest

from nnunet_mcp.runs.failures.diagnosis import CONSEQUENCE, LOG_WINDOW, SIGNATURES, diagnose
from nnunet_mcp.runs.failures.gpu_signatures import OF_GPUS
from nnunet_mcp.schemas.records import Failure
from tests.kit.tiny import image, save

GENERIC = """\
Exception in thread Thread-2 (results_loop):
Traceback (most recent call last):
  File "/usr/lib/python3.11/threading.py", line 1045, in _bootstrap_inner
    self.run()
  File ".../batchgenerators/dataloading/nondet_multi_threaded_augmenter.py", line 132, in results_loop
    raise RuntimeError("One or more background workers are no longer alive. Exiting. Please check the "
RuntimeError: One or more background workers are no longer alive. Exiting. Please check the print statements above \
for the actual error message
"""

# The texts as nnU-Net 2.8.1, PyTorch and SimpleITK print them, and words that the cause must have.
EXAMPLES = {
    "open files": ("OSError: [Errno 24] Too many open files", "too many files are open"),
    "shared memory": ("RuntimeError: unable to write to file </torch_9_195>: No space left on device (28)", "/dev/shm"),
    "disk full": ("OSError: [Errno 28] No space left on device: '/data/checkpoint_latest.pth'", "disk is full"),
    "read-only disk": ("OSError: [Errno 30] Read-only file system: '/data/nnUNet_results/x'", "read-only"),
    "unexpected labels": (
        "Error: Unexpected labels found in file /raw/Dataset 1/labelsTr/case 7.nii.gz.\n"
        "Expected: [0, 1, 2]\nFound: [0. 1. 2. 7.]\n",
        "/raw/Dataset 1/labelsTr/case 7.nii.gz has values [0. 1. 2. 7.]; dataset.json declares [0, 1, 2]",
    ),
    "shape mismatch": (
        "Error: Shape mismatch between segmentation and corresponding images. \nShape images: (40, 48, 39). \n"
        "Shape seg: (40, 48, 40). \nImage files: ['/raw/a_0000.nii.gz']. \nSeg file: /raw/a.nii.gz\n\n",
        "/raw/a.nii.gz have different shapes: (40, 48, 39) and (40, 48, 40)",
    ),
    "spacing mismatch": (
        "Error: Spacing mismatch between segmentation and corresponding images. \nSpacing images: [1.0, 1.0, 1.0]. \n"
        "Spacing seg: [1.0, 1.0, 2.0]. \nImage files: ['/raw/a_0000.nii.gz']. \nSeg file: /raw/a.nii.gz\n\n",
        "/raw/a.nii.gz have different spacings: [1.0, 1.0, 1.0] and [1.0, 1.0, 2.0]",
    ),
    "channels": (
        "Error: Unexpected number of modalities. \nExpected: 2. \nGot: 1. \nImages: ['/raw/a_0000.nii.gz']\n\n",
        "declares 2 channels; 1 were found in ['/raw/a_0000.nii.gz']",
    ),
    "nan in a label": (
        "Segmentation contains NaN pixel values. You need to fix that.\nSegmentation:\n/raw/a.nii.gz\n",
        "/raw/a.nii.gz contains values that are not numbers",
    ),
    "labels not consecutive": (
        "AssertionError: Labels must be in consecutive order (0, 1, 2, ...). The labels [3] do not satisfy this "
        "restriction",
        "not consecutive",
    ),
    "missing labels": (
        "AssertionError: not all training cases have a label file in labelsTr. Fix that. Missing: ['case_002']",
        "missing: ['case_002']",
    ),
    "unreadable image": (
        "RuntimeError: Exception thrown in SimpleITK ImageFileReader_Execute: "
        "/work/src/Code/IO/src/sitkImageReaderBase.cxx:99:\n"
        'sitk::ERROR: Unable to determine ImageIO reader for "/raw/case 1_0000.nii.gz"\n',
        "/raw/case 1_0000.nii.gz cannot be read",
    ),
    "missing file": (
        "RuntimeError: Exception thrown in SimpleITK ImageFileReader_Execute: "
        "/work/src/Code/IO/src/sitkImageReaderBase.cxx:91:\n"
        'sitk::ERROR: The file "/raw/case_1.nii.gz" does not exist.\n',
        "/raw/case_1.nii.gz does not exist",
    ),
    "not orthonormal": (
        "RuntimeError: Exception thrown in SimpleITK ImageFileReader_Execute: "
        "/tmp/ITK/Modules/IO/NIFTI/src/itkNiftiImageIO.cxx:2135:\nITK ERROR: ITK only supports orthonormal direction "
        'cosines.  No orthonormal definition found!\n"""\n\nThe above exception was the direct cause of the following '
        'exception:\n\nTraceback (most recent call last):\n  File "/some/where/pool.py", line 5, in <module>\n',
        "not at right angles",
    ),
    "itk error": (
        "RuntimeError: Exception thrown in SimpleITK ImageFileReader_Execute: "
        "/tmp/ITK/Modules/IO/PNG/src/itkPNGImageIO.cxx:360:\n"
        "ITK ERROR: PNGImageIO(0x55de): PNG critical error in /raw/bad.png",
        "image cannot be read",
    ),
    "index out of bounds": ("RuntimeError: index 7 is out of bounds for dimension 1 with size 3", "label value"),
    "labels changed": ("KeyError: (-1, 0, 1, 2)", "labels were changed after preprocessing"),
    "preprocessed file not written": ("RuntimeError: Error while creating the NDArray", "folder is gone or read-only"),
    "damaged preprocessed file": (
        "RuntimeError: blosc2_schunk_open_offset('/pre/case_1_seg.b2nd', 0) returned NULL",
        "/pre/case_1_seg.b2nd is cut off",
    ),
    "too few channels": (
        "RuntimeError: Given groups=1, weight of size [32, 3, 3, 3], expected input[1, 1, 16, 20] to have 3 channels, "
        "but got 1 channels instead",
        "has 1 channels; the model was trained with 3",
    ),
    "too many channels": (
        "    scheme = configuration_manager.normalization_schemes[c]\n"
        "             ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~^^^\nIndexError: list index out of range",
        "more channels than the model",
    ),
    "no 8-bit colours": (
        "AssertionError: RGB images are uint 8, for whatever reason I found pixel values greater than 255. Your images "
        "do not seem to be RGB images",
        "outside 0 to 255",
    ),
    "missing lowres prediction": (
        "Exception in background worker 0:\n No such file or directory: /results/Dataset004_H/nnUNetTrainer__"
        "nnUNetPlans__3d_lowres/predicted_next_stage/3d_cascade_fullres/case_002.b2nd\n" + GENERIC,
        "3d_cascade_fullres/case_002.b2nd",
    ),
    "configuration not planned": (
        "RuntimeError: Requested configuration 3d_lowres not found in plans. Available configurations: "
        "['2d', '3d_fullres']",
        "no configuration 3d_lowres; they have ['2d', '3d_fullres']",
    ),
    "truncated checkpoint": (
        "RuntimeError: PytorchStreamReader failed reading zip archive: failed finding central directory",
        "checkpoint file is damaged",
    ),
    "another network": (
        "RuntimeError: Error(s) in loading state_dict for PlainConvUNet:\n\tsize mismatch for encoder.stages.0",
        "another network than",
    ),
    "torchvision mismatch": ("RuntimeError: operator torchvision::nms does not exist", "torch and torchvision"),
    "nnU-Net missing": ("ModuleNotFoundError: No module named 'nnunetv2'", "no package nnunetv2"),
    "trainer signature": (
        "    self.my_init_kwargs[k] = locals()[k]\n                             ~~~~~~~~^^^\nKeyError: 'args'",
        "(args)",
    ),
    "versions": ("ModuleNotFoundError: No module named 'distutils'", "packages do not fit"),
    "overflow": ("RuntimeError: Encountered inf in predicted array. Aborting...", "too large for half precision"),
    "too few cases": (
        "ValueError: Cannot have number of splits n_splits=5 greater than the number of samples: n_samples=3.",
        "fewer than five",
    ),
    "host memory": (
        "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 9.31 GiB for an array with shape (5,)",
        "machine ran out of memory",
    ),
    "native crash": ("malloc(): invalid size (unsorted)", "overwrote memory"),
    "worker exception": (
        "Exception in background worker 3:\n boolean index did not match\nTraceback (most recent call last):\n"
        "IndexError: boolean index did not match\n" + GENERIC,
        "boolean index did not match",
    ),
    "preprocessing worker gone": (
        "RuntimeError: Some background worker is 6 feet under. Yuck. \nOK jokes aside.\n",
        "preprocessing process was killed",
    ),
    "workers gone": (GENERIC, "helper process was killed"),
}


# What GPUs, their drivers, torch.compile and NCCL say: "# signature: name", then the text; "-" is none of ours.
GPU_TEXTS = {
    name: (signature, text)
    for part in Path(__file__).with_name("gpu_texts.txt").read_text(encoding="utf-8").removeprefix("# ").split("\n# ")
    for (signature, name), text in [(part.split("\n", 1)[0].split(": ", 1), part.split("\n", 1)[1])]
}
TRACEBACK = """\
Traceback (most recent call last):
  File "/home/user/miniconda3/envs/nnunet/lib/python3.11/site-packages/nnunetv2/training/nnUNetTrainer/nnUNetTrainer.py\
", line 1035, in train_step
    output = self.network(data)
"""
ADVICE = """
CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be incorrect.
For debugging consider passing CUDA_LAUNCH_BLOCKING=1
Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.

Set TORCHDYNAMO_VERBOSE=1 for the internal stack trace (please do this especially if you're reporting a bug to PyTorch).
"""
# What nnunet_progress shows of the evidence.
SHOWN = 160


def diagnosed(folder: Path, text: str, *, code: int = 1) -> Failure:
    log = folder / "log.txt"
    log.write_text(text, encoding="utf-8")
    return diagnose(log, code=code)


@pytest.mark.parametrize(
    ("text", "code", "cause", "said"),
    [
        pytest.param(
            "Error: Unexpected labels found in file /raw/a.nii.gz.\nExpected: [0, 1]\n"
            "Found: [np.int64(0) np.int64(7)]\n",
            1,
            "has values [0 7]; dataset.json declares [0, 1]",
            "Found: [0 7]",
            id="numbers without their type",
        ),
        pytest.param(
            'File "/env/torch/serialization.py", line 807, in __init__\n    super().__init__(x)\n'
            "OSError: [Errno 22] Invalid argument\n",
            1,
            "a checkpoint file is damaged",
            "Invalid argument",
            id="a checkpoint that was cut",
        ),
        pytest.param("free(): invalid pointer\n", -6, "native code crashed", "free(): invalid pointer", id="abort"),
        pytest.param(
            "Fatal Python error: Segmentation fault\n\nThread 0x1\n",
            -11,
            "native code crashed",
            "Fatal Python error: Segmentation fault",
            id="fault handler",
        ),
        pytest.param("reading case_7\n", -11, "native code crashed (SIGSEGV)", "reading case_7", id="without words"),
        pytest.param(
            '  File "/home/me/trainers/own.py", line 9, in __init__\n    super().__init__(unpack_dataset)\n'
            '  File "/env/site-packages/nnunetv2/x.py", line 1, in f\n    ^^^^^\nTypeError: takes 5\n',
            1,
            "unknown",
            'TypeError: takes 5 | File "/home/me/trainers/own.py", line 9',
            id="the exception, then the person's own line",
        ),
        pytest.param(
            '  File "/home/me/trainers/own.py", line 9, in initialize\n    super().initialize()\n'
            '  File "/src/nnunet-mcp/nnunet_mcp/worker/stage.py", line 7, in look\n    f()\nKeyError: 5\n',
            1,
            "unknown",
            'KeyError: 5 | File "/home/me/trainers/own.py", line 9',
            id="a hook of ours is not the person's own line",
        ),
    ],
)
def test_evidence_begins_with_what_happened(tmp_path: Path, text: str, code: int, cause: str, said: str) -> None:
    failure = diagnosed(tmp_path, text, code=code)

    assert cause in failure.cause and said in failure.evidence
    assert code > 0 or "Free memory" not in failure.remedy


def test_every_signature_has_an_example() -> None:
    ours = [signature for signature in (*SIGNATURES, CONSEQUENCE) if signature not in OF_GPUS]

    assert [signature.name for signature in ours] == list(EXAMPLES)
    assert {signature.name for signature in OF_GPUS} <= {name for name, _ in GPU_TEXTS.values()}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_known_death_is_recognised_by_its_real_text(tmp_path: Path, name: str) -> None:
    text, words = EXAMPLES[name]
    signature = next(signature for signature in (*SIGNATURES, CONSEQUENCE) if signature.name == name)

    failure = diagnosed(tmp_path, f"Using device: cpu\n{text}\n")

    assert words in failure.cause
    assert failure.remedy == signature.remedy, "another signature was faster"
    assert failure.evidence and "{" not in failure.cause


@pytest.mark.parametrize("after", ["", GENERIC], ids=["alone", "with its consequence"])
@pytest.mark.parametrize("case", GPU_TEXTS)
def test_what_a_gpu_says_is_explained_and_shown(tmp_path: Path, case: str, after: str) -> None:
    name, text = GPU_TEXTS[case]

    failure = diagnosed(tmp_path, f"Using device: cuda:0\n{TRACEBACK}{text}{ADVICE}{after}")

    if name == "-":
        assert failure.cause.startswith("unknown")
        assert failure.evidence.startswith(("AttributeError: 'MyTrainer'", "ValueError: something else broke"))
        return
    signature = next(signature for signature in SIGNATURES if signature.name == name)
    assert failure.remedy == signature.remedy, f"another signature was faster: {failure.cause}"
    shown = failure.evidence[:SHOWN]
    assert 'File "' not in shown and not shown.startswith(("raise ", "output =")), "the error, not its frame"
    assert re.search(signature.pattern, failure.evidence)


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name != "workers gone"])
def test_the_line_about_background_workers_never_hides_the_cause(tmp_path: Path, name: str) -> None:
    text, words = EXAMPLES[name]

    assert words in diagnosed(tmp_path, f"{text}\n{GENERIC}").cause
    assert words in diagnosed(tmp_path, f"{GENERIC}{text}\n").cause


@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_an_unknown_exception_is_quoted_instead_of_its_consequence(tmp_path: Path, first: bool) -> None:
    own = 'Traceback (most recent call last):\n  File "x.py", line 1\n    f()\nValueError: nobody knows this\n'

    failure = diagnosed(tmp_path, own + GENERIC if first else GENERIC + own)

    assert failure.cause.startswith("unknown")
    assert "ValueError: nobody knows this" in failure.evidence
    assert "background workers" not in failure.evidence


def test_what_the_process_of_one_of_several_gpus_understood_is_the_cause(tmp_path: Path) -> None:
    text = (
        "torch.multiprocessing.spawn.ProcessRaisedException: \n\n-- Process 1 terminated with the following error:\n"
        "Traceback (most recent call last):\nnnunet_mcp.worker.stage.StageFailure: the training loss is not a number "
        "(NaN) (train_loss is NaN since epoch 3). Check the images for NaN.\n\n" + GENERIC
    )

    failure = diagnosed(tmp_path, text)

    assert (failure.cause, failure.remedy) == ("the training loss is not a number (NaN)", "Check the images for NaN.")


def test_an_exception_may_be_called_a_failure(tmp_path: Path) -> None:
    text = "Traceback (most recent call last):\nsomebodys.code.ReadFailure: no such volume\n" + GENERIC

    assert "ReadFailure: no such volume" in diagnosed(tmp_path, text).evidence


def test_a_word_about_memory_is_not_an_error_of_memory(tmp_path: Path) -> None:
    text = "note: a MemoryError here means too large a patch\nTraceback (most recent call last):\nKeyError: 'x'\n"

    assert "memory" not in diagnosed(tmp_path, text).cause


def test_what_helpers_say_when_one_of_them_has_gone_is_no_cause(tmp_path: Path) -> None:
    echoes = (
        "Traceback (most recent call last):\nEOFError\nConnectionResetError: [Errno 104] Connection reset by peer\n"
    )

    assert "helper process was killed" in diagnosed(tmp_path, echoes + GENERIC).cause


def test_a_healthy_log_and_a_signal_name_the_signal(tmp_path: Path) -> None:
    healthy = (
        "Unable to plot network architecture: nnUNet_compile is enabled!\n"
        "RuntimeWarning: invalid value encountered in scalar divide\n"
        "perform_everything_on_device=True is only supported for cuda devices! Setting this to False\n"
        "2025-01-01 10:00:00.000000: Epoch 3\n"
    )

    failure = diagnosed(tmp_path, healthy, code=-9)

    assert "killed by signal 9" in failure.cause and "memory" in failure.cause
    assert failure.resume
    assert "Epoch 3" in failure.evidence


def test_an_empty_or_missing_log_is_said_to_be_empty(tmp_path: Path) -> None:
    assert diagnosed(tmp_path, "").evidence == "the log is empty"
    assert diagnose(tmp_path / "missing.txt", code=1).evidence == "the log is empty"


def test_a_stall_is_named_with_its_length(tmp_path: Path) -> None:
    failure = diagnose(tmp_path / "missing.txt", code=-9, stalled_s=900)

    assert "did nothing for 900 s" in failure.cause


def test_only_the_end_of_a_huge_log_is_read_and_the_evidence_is_short(tmp_path: Path) -> None:
    text = "CUDA out of memory\n" + "x" * LOG_WINDOW + "\n" + "ITK ERROR: " + "y" * 5000

    failure = diagnosed(tmp_path, text)

    assert "image cannot be read" in failure.cause
    assert len(failure.evidence) <= 400


def test_progress_bars_do_not_hide_the_cause(tmp_path: Path) -> None:
    text = "\r  0%|     | 0/5\r 20%|#    | 1/5\rRuntimeError: Some background worker is 6 feet under. Yuck. \n"

    assert "preprocessing process was killed" in diagnosed(tmp_path, text).cause


VERIFY = """
import sys
from nnunetv2.experiment_planning.verify_dataset_integrity import check_cases, verify_labels
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
image, cut, moved, label = sys.argv[1:]
for name, broken in {
    "unexpected labels": lambda: verify_labels(label, SimpleITKIO, [0, 1]),
    "shape mismatch": lambda: check_cases([image], cut, 1, SimpleITKIO),
    "spacing mismatch": lambda: check_cases([image], moved, 1, SimpleITKIO),
    "channels": lambda: check_cases([image], label, 2, SimpleITKIO),
}.items():
    print("#", name)
    assert not broken()
"""


@pytest.mark.heavy
def test_what_nnunet_itself_prints_about_broken_cases_is_recognised(tmp_path: Path) -> None:
    label = image(fill=7).astype(numpy.uint8)
    files = [tmp_path / name for name in ("a b_0000.nii.gz", "cut one.nii.gz", "moved one.nii.gz", "a b.nii.gz")]
    save(files[0], image())
    save(files[1], label[:-1])
    save(files[2], label, spacing=3.0)
    save(files[3], label)
    folders = {name: str(tmp_path) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    command = [sys.executable, "-c", VERIFY, *map(str, files)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **folders})

    printed = dict(part.split("\n", 1) for part in done.stdout.split("# ")[1:])
    causes = {name: diagnosed(tmp_path, text).cause for name, text in printed.items()}

    assert f"the label file {files[3]} has values [0. 7.]" in causes["unexpected labels"]
    assert f"image and label of {files[1]} have different shapes" in causes["shape mismatch"]
    assert f"image and label of {files[2]} have different spacings" in causes["spacing mismatch"]
    assert f"declares 2 channels; 1 were found in ['{files[0]}']" in causes["channels"]
