"""Signatures of failures of a GPU, its driver, torch.compile, or the communication between several GPUs.

The texts are those of PyTorch, Triton, cuDNN and NCCL; tests/runs/gpu_texts.txt has an example of each.
"""

from ...calls import argument
from .signatures import Signature

OF_GPUS = (
    Signature(
        "cuda out of memory",
        r"(?:CUDA|MPS backend) out of memory|torch\.OutOfMemoryError|(?:CUDA error|\[CUDA\]): out of memory|"
        r"CU(?:BLAS|DNN)_STATUS_ALLOC_FAILED|Unable to find a valid cuDNN algorithm|"
        r"unable to find an engine to execute this computation",
        "the GPU ran out of memory",
        "Free the GPU of other processes. What needs less is another model: "
        f"{argument(configuration='2d')}, or a smaller preset (nnUNetPlans, nnUNetResEncUNetMPlans).",
        resume=True,
    ),
    Signature(
        "gpu fault",
        r"cuDNN error: CUDNN_STATUS_\w+|CUBLAS_STATUS_(?:EXECUTION_FAILED|INTERNAL_ERROR|NOT_INITIALIZED)|"
        r"CUDA error: (?:an illegal \w+|unspecified launch failure|uncorrectable ECC|unknown error|misaligned address|"
        r"the launch timed out|hardware stack error|invalid program counter)[^\n]*|GPU is lost|fallen off the bus",
        "the GPU or its driver failed",
        "If it happens again, take another GPU (the kernel's log, dmesg, names the fault: Xid). A GPU that others fill "
        "can fail so, too: free it first.",
        resume=True,
    ),
    Signature(
        "gpu taken",
        r"CUDA-capable device\(s\) is/are busy or unavailable|all CUDA-capable devices are busy",
        "another process has the GPU for itself",
        "Wait for that process or end it, or let the GPU be shared (nvidia-smi -c 0).",
        resume=True,
    ),
    Signature(
        "gpu not in this torch",
        r"no kernel image is available for execution",
        "the installed PyTorch has no code for this GPU",
        "Install a build of PyTorch for it: CUDA 12.6 (cu126) for V100, P100 and older, cu128 or newer for RTX 50 "
        "(pytorch.org).",
    ),
    Signature(
        "gpu driver",
        r"The NVIDIA driver on your system is too old|CUDA driver version is insufficient|Error 80[34]: [^\n]*|"
        r"CUDA unknown error|Driver/library version mismatch",
        "the NVIDIA driver does not fit PyTorch's CUDA, or is not set up",
        "Update the driver, and restart the machine after an update; or install PyTorch for the CUDA version that "
        "nvidia-smi shows (pytorch.org).",
    ),
    Signature(
        "gpu not visible",
        r"No CUDA GPUs are available|CUDA error: invalid device ordinal",
        "PyTorch sees no GPU, or fewer than were asked for",
        "CUDA_VISIBLE_DEVICES, a container's --gpus and a Slurm job's gres decide what it sees; correct them or "
        f"{argument(num_gpus=None)}, then start the request again.",
    ),
    Signature(
        "no gpu",
        r"Torch not compiled with CUDA enabled|Found no NVIDIA driver|Cannot access accelerator device|"
        r"not linked with support for mps",
        "the requested device is not available to PyTorch here",
        f"Use {argument(device='cpu')}, or install the PyTorch build for this machine's GPU.",
    ),
    Signature(
        "mps operation",
        r"not currently implemented for the MPS device",
        "PyTorch lacks an operation of this network on Apple's GPU",
        f"Set PYTORCH_ENABLE_MPS_FALLBACK=1 for the server, or use {argument(device='cpu')}.",
    ),
    Signature(
        "no user name",
        r"getpwuid\(\): uid not found: \d+",
        "torch.compile needs a user's name, and this user id has none",
        "Set the environment variables USER and TORCHINDUCTOR_CACHE_DIR for the server, or nnUNet_compile=f; then "
        "start the request again.",
    ),
    Signature(
        "compile failed",
        r"(?m:^(?:\[rank\d+\]: *)?(?:\w+\.)*(?:(?:BackendCompilerFailed|InductorError|GPUTooOldForTriton|PTXASError): |"
        r"\w*Error: [^\n]*(?:Cannot find a working triton installation|Triton Error|Failed to find C compiler|"
        r"libcuda\.so cannot found|out of resource: shared memory)))",
        "torch.compile failed",
        "Set nnUNet_compile=f for the server and start again; for faster epochs install a C compiler and Python's "
        "headers (gcc, python3-dev) instead.",
    ),
    Signature(
        "compiled validation",
        r"flip\(\): argument 'input' \(position 1\) must be Tensor, not tuple",
        "the validation was given the network as it was compiled for training, a known fault of nnU-Net",
        f"Start the request again with {argument(validation_only=True)}.",
    ),
    Signature(
        "batch and gpus",
        r"Cannot run DDP if the batch size is smaller than the number of GPUs",
        f"{argument(num_gpus=None)} is larger than the planned batch",
        f"Choose {argument(num_gpus=None)} of at most the batch size that the plans have.",
    ),
    Signature(
        "one gpu twice",
        r"Duplicate GPU detected[^\n]*",
        "two processes of the training were given the same GPU",
        f"Use {argument(num_gpus=1)}: a process sees one part of a divided GPU (MIG), and fewer GPUs are visible than "
        "were asked for.",
    ),
    Signature(
        "port taken",
        r"EADDRINUSE|server socket has failed to listen",
        "another program took the port that the GPUs' processes were to talk through",
        "Start the request again.",
    ),
    Signature(
        "nccl",
        r"Watchdog caught collective operation timeout[^\n]*|DistBackendError|NCCL error in",
        "one of the GPUs' processes died or fell behind",
        f"Look for the first error in the log; training folds on single GPUs ({argument(num_gpus=1)}) avoids it.",
    ),
    Signature(
        "cuda packages",
        r"/torch/\S+: undefined symbol|undefined symbol: (?:nccl|cu)\w+|"
        r"lib(?:cu|nccl|nv)[^\s:]*: cannot open shared object file",
        "PyTorch and its CUDA packages do not fit together",
        "Install torch anew in an environment of its own, from the index for this machine's driver (pytorch.org).",
    ),
    Signature(
        "cuda error",
        r"CUDA error: (?!device-side assert)(?P<error>[^\n]+)",
        "CUDA refused: {error}",
        "If it happens again, take another GPU or another build of PyTorch.",
        resume=True,
    ),
)
