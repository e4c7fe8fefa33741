"""What this machine's processor can do."""

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
# As Linux names them: x86 without and with tile registers, Arm.
BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


def computes_bfloat16(cpuinfo: Path = CPUINFO) -> bool:
    """Whether the processor has instructions that multiply bfloat16 numbers; false where the system does not say.

    Without them PyTorch still computes in bfloat16, but more slowly than in float32.
    """
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return any(BFLOAT16 & set(line.split()) for line in lines if line.startswith(("flags", "Features")))
