"""A stage that trains on "two GPUs", played by two CPU processes: nnU-Net's own DDP over gloo instead of nccl.

    python tests/kit/ddp_on_cpu.py <run directory> <stage>

Everything but the device is real: `mp.spawn`, our hooks in each rank, gathered losses, rank 0's files.
"""

import os
import sys
from typing import Any


def run_ddp(rank: int, *args: Any) -> None:
    """One rank: make nnU-Net believe in CPU devices, then do what a GPU's process does."""
    import torch
    import torch.distributed
    from nnunetv2.run import run_training
    from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as module

    from nnunet_mcp.worker.training.ddp import run_ddp as real

    original = module.nnUNetTrainer.__init__

    def on_cpu(self: Any, plans: Any, configuration: Any, fold: Any, dataset_json: Any, device: Any = None) -> None:
        original(self, plans, configuration, fold, dataset_json, torch.device("cpu"))
        self.device, self.grad_scaler = torch.device("cpu"), None

    module.nnUNetTrainer.__init__ = on_cpu
    module.DDP = lambda network, device_ids=None: torch.nn.parallel.DistributedDataParallel(network)
    run_training.setup_ddp = lambda rank, size: torch.distributed.init_process_group("gloo", rank=rank, world_size=size)
    torch.cuda.set_device = lambda *_: None
    os.environ["nnUNet_compile"] = "f"  # noqa: SIM112 - nnU-Net's own spelling
    real(rank, *args)


if __name__ == "__main__":
    from nnunet_mcp.worker.stage import carry_out
    from nnunet_mcp.worker.training import ddp
    from tests.kit import ddp_on_cpu

    ddp.run_ddp = ddp_on_cpu.run_ddp
    sys.exit(carry_out(sys.argv[1], sys.argv[2]))
