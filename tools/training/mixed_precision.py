"""Whether mixed precision is a gain on the device of a training."""

from ...calls import argument
from ...errors import Refused, Unavailable
from ...runs.engine import Engine
from ...schemas.training import Device, TrainingRequest


def check_bf16(request: TrainingRequest, device: Device, engine: Engine) -> None:
    """Refuse mixed precision where it would be no gain.

    Raises:
        Refused: the training would not run on a CPU.
        Unavailable: this machine's CPU has no bfloat16.
    """
    if not request.bf16:
        return
    if device != "cpu":
        raise Refused(
            f"bf16 is for trainings on the CPU; this one runs on {device}. Use {argument(device='cpu')}, or "
            f"{argument(bf16=False)}."
        )
    if engine.cpu_has_bf16() is False:
        raise Unavailable(
            "bf16 needs a CPU with bfloat16 instructions (on Linux: avx512_bf16, amx_bf16 or bf16 in /proc/cpuinfo); "
            "this one has none and would take longer with it. Leave bf16 out."
        )


def bf16_notes(request: TrainingRequest, device: Device | None, engine: Engine) -> list[str]:
    """What a training on the engine's CPU could gain; measured, docs/benchmarks.md."""
    if device != "cpu" or request.bf16 or not engine.cpu_has_bf16():
        return []
    return [
        f"This CPU has bfloat16: with {argument(bf16=True)} an epoch takes about half the time, in mixed precision."
    ]
