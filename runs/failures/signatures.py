"""Signatures of failures of a disk, the memory, the data or the installation; `gpu_signatures.py` has those of GPUs.

The order matters: the first signature that matches is believed.
"""

from dataclasses import dataclass

from ...calls import argument


@dataclass(frozen=True)
class Signature:
    """A text that proves a cause. Cause and remedy can use the named groups of the pattern."""

    name: str
    pattern: str
    cause: str
    remedy: str
    resume: bool = False  # whether the run can be resumed after the remedy


# Of readers, numpy and PyTorch; memory is rarely what is short.
NATIVE_CRASH = (
    "Look into the images: a damaged one can crash its reader. If it happens again with sound images, update blosc2, "
    "numpy and torch, and test the machine's memory."
)

OF_DISKS = (
    Signature(
        "open files",
        r"Too many open files",
        "too many files are open at once",
        "Allow more where the server is started (ulimit -n 65536), or set nnUNet_n_proc_DA lower.",
        resume=True,
    ),
    Signature(
        "shared memory",
        r"unable to (?:open|allocate) shared memory|unable to write to file </torch_|Bus error|"
        r"No space left on device: '/dev/shm|shared memory segment /dev/shm",
        "shared memory (/dev/shm) is too small",
        "Start the container with a larger --shm-size or --ipc=host, or set nnUNet_n_proc_DA=1.",
    ),
    Signature(
        "disk full",
        r"\[Errno 28\]|No space left on device|Disk quota exceeded|PytorchStreamWriter failed writing|"
        r"inline_container\.cc[^\n]*unexpected pos",
        "the disk is full",
        "Free space in the nnU-Net folders.",
        resume=True,
    ),
    Signature(
        "read-only disk",
        r"\[Errno 30\]|Read-only file system",
        "a folder the run writes to is read-only",
        "Make the nnU-Net folders writable, then start the request again.",
    ),
)

OF_THE_REST = (
    Signature(
        "unexpected labels",
        r"Unexpected labels found in file (?P<file>[^\n]+?)\.?\s*\nExpected: (?P<expected>[^\n]+)\s*\n"
        r"Found: (?P<found>[^\n]+)",
        "the label file {file} has values {found}; dataset.json declares {expected}",
        "If the values are mistakes, correct the label file. If they are a class, give it the next free number, in "
        "dataset.json and in the label files (labels have no gaps).",
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
        "Look at the dataset, which names the label files, and correct their values; then start again with "
        f"{argument(verify_dataset_integrity=True)}.",
    ),
    Signature(
        "labels changed",
        r"KeyError: \(-1, [^\n]*\)",
        "the labels were changed after preprocessing",
        f"Preprocess again: start the request without {argument(no_preprocessing=None)}.",
    ),
    Signature(
        "preprocessed file not written",
        r"Error while creating the NDArray",
        "a preprocessed file cannot be written: its folder is gone or read-only, its name is too long, or it exists",
        "Give write access to nnUNet_preprocessed, and shorten case names of more than 240 bytes; then start again.",
    ),
    Signature(
        "damaged preprocessed file",
        r"blosc2_schunk_open_offset\('(?P<file>[^'\n]+)'[^\n]*returned NULL",
        "the preprocessed file {file} is cut off or damaged",
        "Once no training reads the folder that it lies in, delete that folder, and start the request again without "
        f"{argument(no_preprocessing=None)}: it is preprocessed anew.",
    ),
    Signature(
        "too few channels",
        r"Given groups=1, weight of size [^\n]{0,80}to have (?P<wanted>\d+) channels, but got (?P<found>\d+) channels",
        "an image has {found} channels; the model was trained with {wanted}",
        "Save all images as those of the training: the same channels, colours without alpha.",
    ),
    Signature(
        "too many channels",
        r"normalization_schemes\[c\][\s\S]{0,120}IndexError: list index out of range",
        "an image has more channels than the model was trained with",
        "Save all images as those of the training: the same channels, colours without alpha.",
    ),
    Signature(
        "no 8-bit colours",
        r"RGB images are uint 8, for whatever reason I found pixel values",
        "a channel called rgb_to_0_1 has values outside 0 to 255",
        "Scale these images to 0-255, or give the channel another name in dataset.json.",
    ),
    Signature(
        "missing lowres prediction",
        r"(?P<file>\S*predicted_next_stage/\S+?\.b2nd)",
        "the cascade lacks a 3d_lowres prediction: {file}",
        f"Train all folds of 3d_lowres with the same trainer and plans ({argument(fold='all')}), then the cascade.",
    ),
    Signature(
        "configuration not planned",
        r"Requested configuration (?P<wanted>\S+) not found in plans\. Available configurations: (?P<known>\[[^\]]*\])",
        "the plans have no configuration {wanted}; they have {known}",
        "Choose one of these. nnU-Net plans 3d_lowres and the cascade only for large images.",
    ),
    Signature(
        "truncated checkpoint",
        r"PytorchStreamReader failed|EOFError: Ran out of input|failed finding central directory|"
        r"torch/serialization\.py\", line \d+[\s\S]{0,400}?OSError: \[Errno 22\] Invalid argument",
        "a checkpoint file is damaged (its saving was cut off)",
        "Rename the damaged checkpoint: the run then goes on from the one before it.",
        resume=True,
    ),
    Signature(
        "another network",
        r"Error\(s\) in loading state_dict for[^\n]*",
        "a checkpoint is of another network than the present trainer and plans make",
        "Use the trainer and the plans that it was trained with; the trainer's code may have changed since.",
    ),
    Signature(
        "torchvision mismatch",
        r"operator torchvision::nms does not exist|No module named 'torchvision'",
        "torch and torchvision do not fit together, so nnU-Net cannot load other trainers than its default",
        "Install the torchvision release that belongs to the installed torch.",
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
        "versions",
        r"No module named 'distutils'|module 'numpy' has no attribute 'isdtype'",
        "installed packages do not fit together",
        "Install the versions that nnunet-mcp was tested with (constraints.txt).",
    ),
    Signature(
        "overflow",
        r"Encountered inf in predicted array",
        "the network's outputs are too large for half precision (fp16)",
        "Look at the losses: a training that diverged needs a lower learning rate, and images with extreme values or a "
        "wrong channel name another normalisation.",
    ),
    Signature(
        "too few cases",
        r"Cannot have number of splits n_splits=5 greater than the number of samples[^\n]*",
        "there are fewer than five training cases, so there are no five folds",
        f"Use {argument(fold='full')} (one model on every case), or put a splits_final.json into the raw dataset "
        "folder.",
    ),
    Signature(
        "host memory",
        r"(?m:^(?:\w+\.)*\w*MemoryError\b[^\n]*)|Cannot allocate memory|DefaultCPUAllocator: can't allocate memory|"
        r"ProcessExitedException: process \d+ terminated with signal SIGKILL",
        "the machine ran out of memory",
        "Close other programs, or lower nnUNet_def_n_proc and nnUNet_n_proc_DA.",
        resume=True,
    ),
    Signature(
        "native crash",
        r"malloc\(\): |free\(\): |double free or corruption|corrupted (?:size|double-linked|unsorted)|"
        r"Fatal Python error: (?:Segmentation fault|Aborted|Bus error|Illegal instruction)",
        "native code crashed or overwrote memory",
        NATIVE_CRASH,
        resume=True,
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
