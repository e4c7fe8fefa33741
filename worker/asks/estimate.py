"""What a planned network costs: nnU-Net builds it and, if the job says so, trains it for some steps."""

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...ask import answer
from ...errors import Refused
from ...nnunet.preprocessed import planned, preprocessed_cases
from ...nnunet.safe_plans import read_dataset_json, read_plans
from ...nnunet.trainers import all_trainer_folders
from ...schemas.changes.table import told_in_a_name
from ...schemas.preflight import Estimate, EstimateJob, PlanAhead
from ..resources import fit_this_process, gpu_peak_gb
from ..self_supervised import leave_loading_to_us
from ..steps.planning import make_plans
from ..training.compiling import cannot_compile, leave_out, look_ahead, told, uncompile
from ..training.precision import precision_of
from ..weights import bare

# nnunetv2 2.8.1, default_experiment_planner.py:54-59 and residual_encoder_unet_planners.py:27-28: the feature map size
# that the planner lets fill 8 GB, and the batch size that belongs to it.
REFERENCES = {"PlainConvUNet": (85_000_000, 560_000_000), "ResidualEncoderUNet": (135_000_000, 680_000_000)}
REFERENCE_GB = 8
REFERENCE_BATCH = (12, 2)
# Steps that are not measured: the first compiles and tries algorithms, the second still allocates memory.
WARM_UP = 2


def estimate(job: EstimateJob) -> Estimate:
    """Build the trainer as a training would, but without data, and ask it for its network."""
    trainer = build_trainer(job)
    note = _prepare(trainer.device.type) if job.measure_s else None
    try:
        trainer.initialize()
    except RuntimeError as error:
        if not job.measure_s or not _is_full(error):
            raise
        without = estimate(job.model_copy(update={"device": "cpu", "measure_s": None}))
        return without.model_copy(update=_full(error))
    planned, network = trainer.configuration_manager, bare(trainer.network)
    patch, batch = tuple(planned.patch_size), int(planned.batch_size)
    measured = _measured(trainer, job, note) if job.measure_s else {}
    return Estimate(
        patch_size=patch,
        batch_size=batch,
        parameters=sum(p.numel() for p in network.parameters()),
        gpu_memory_gb=round(planned_gb(network, patch, batch), 2),
        epochs=trainer.num_epochs,
        iterations=trainer.num_iterations_per_epoch,
        validation_iterations=trainer.num_val_iterations_per_epoch,
        initial_lr=_rate(trainer),
        **measured,
    )


def trainer_alone(job: EstimateJob) -> Estimate:
    """What the trainer says before there are plans: it is made with invented ones, and its network is not built."""
    import torch

    # Plans without an architecture are taken for older ones (nnunetv2 2.8.1, plans_handler.py:37).
    network = {"network_class_name": "none", "arch_kwargs": {}, "_kw_requires_import": []}
    configuration = {"data_identifier": "none", "batch_size": 2, "patch_size": [64, 64, 64], "architecture": network}
    plans = {
        "dataset_name": "Dataset000_None",
        "plans_name": "nnUNetPlans",
        "pretrain_info": {"checkpoint_path": ""},  # for the learning rate of a trainer that starts from one of nnssl
        "configurations": {job.configuration: configuration},
    }
    description = {"labels": {"background": 0, "some": 1}, "channel_names": {"0": "some"}, "file_ending": ".nii.gz"}
    made = _class_of(job)(plans | {"continue_training": False}, job.configuration, 0, description, torch.device("cpu"))
    return Estimate(
        patch_size=(),
        batch_size=0,
        parameters=0,
        gpu_memory_gb=0.0,
        epochs=made.num_epochs,
        iterations=made.num_iterations_per_epoch,
        validation_iterations=made.num_val_iterations_per_epoch,
        initial_lr=_rate(made),
    )


def _rate(trainer: Any) -> float | None:
    """The learning rate at the start; a trainer of one's own may keep it elsewhere."""
    rate = getattr(trainer, "initial_lr", None)
    return float(rate) if isinstance(rate, int | float) else None


def _measured(trainer: Any, job: EstimateJob, note: str | None) -> dict[str, Any]:
    """Iterations in the precision asked for, then in the other one."""
    load = round(os.getloadavg()[0], 1)
    seconds = (job.measure_s or 0.0) / (2 if job.both else 1)
    found = {"note": note, "load": load, **measure(trainer, seconds, bf16=job.bf16)}
    if job.both and "out_of_memory" not in found:
        other = measure(trainer, seconds, bf16=not job.bf16)
        found |= {f"other_{name}": other[name] for name in ("train_s", "validation_s")}
    return found


def build_trainer(job: EstimateJob) -> Any:
    """The trainer that a training would have, not initialised."""
    import torch

    plans, description = read_plans(Path(job.plans_file)), read_dataset_json(Path(job.dataset_json))
    if plans is None or description is None:
        raise Refused(f"{job.plans_file} or {job.dataset_json} is not there.")
    given = plans | {"continue_training": False}
    trainer = _class_of(job)(given, job.configuration, 0, description, torch.device(job.device))
    leave_loading_to_us(trainer)
    return trainer


def _class_of(job: EstimateJob) -> Any:
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    return recursive_find_trainer_class_by_name(job.trainer)


def _prepare(device: str) -> str | None:
    """Prepare as for a training (nnunetv2 2.8.1, run_training.py:195, and our own hooks); returns the note on
    compiling."""
    import torch

    fit_this_process(device)
    if device != "cuda":
        return None
    torch.backends.cudnn.benchmark = True
    return look_ahead()


def planned_gb(network: Any, patch: tuple[int, ...], batch: int) -> float:
    """GB of GPU memory that nnU-Net's planner reckons with, by the feature maps of the network."""
    flat = len(patch) == 2
    by_name = REFERENCES.get(type(network).__name__, REFERENCES["PlainConvUNet"])
    reference, usual = by_name[0 if flat else 1], REFERENCE_BATCH[0 if flat else 1]
    return float(network.compute_conv_feature_map_size(patch)) / reference * REFERENCE_GB * batch / usual


def measure(trainer: Any, seconds: float, *, bf16: bool) -> dict[str, Any]:
    """Time iterations on a made-up batch, after those in which the network compiles and cuDNN tries algorithms."""
    try:
        return _measure(trainer, seconds, bf16=bf16)
    except Exception as error:
        if _is_full(error):
            return _full(error)
        if not cannot_compile(error):
            raise
        note = leave_out(told(error))
    uncompile(trainer)
    return {"note": note, **measure(trainer, seconds, bf16=bf16)}


def _is_full(error: Exception) -> bool:
    return "out of memory" in str(error)


def _full(error: Exception) -> dict[str, str]:
    return {"out_of_memory": str(error).splitlines()[0][:200]}


def _measure(trainer: Any, seconds: float, *, bf16: bool) -> dict[str, Any]:
    import torch

    batch = made_up_batch(trainer)
    with precision_of(trainer.network, bf16=bf16):
        trainer.network.train()
        train = _time(lambda: trainer.train_step(batch), 0.6 * seconds, trainer.device)
        trainer.network.eval()
        with torch.no_grad():
            validation = _time(lambda: trainer.validation_step(batch), 0.2 * seconds, trainer.device)
    return {"train_s": train, "validation_s": validation, "peak_gb": gpu_peak_gb(trainer.device.type)}


def made_up_batch(trainer: Any) -> dict[str, Any]:
    """As nnunetv2 2.8.1, nnUNetTrainerBenchmark_5epochs_noDataLoading.py:24-39, also for regions."""
    import torch

    labels, patch = trainer.label_manager, tuple(trainer.configuration_manager.patch_size)
    scales = trainer._get_deep_supervision_scales() or [[1.0] * len(patch)]
    channels = len(labels.foreground_regions) if labels.has_regions else 1
    highest = 1 if labels.has_regions else max(labels.foreground_labels)
    shapes = [tuple(int(size * part) for size, part in zip(patch, scale, strict=True)) for scale in scales]
    targets = [torch.randint(0, highest + 1, (trainer.batch_size, channels, *shape)).float() for shape in shapes]
    data = torch.rand((trainer.batch_size, trainer.num_input_channels, *patch))
    return {"data": data, "target": targets if trainer.enable_deep_supervision else targets[0]}


def _time(step: Callable[[], Any], seconds: float, device: Any) -> tuple[float, ...]:
    """Seconds of single steps, without the first ones."""
    found: list[float] = []
    for _ in range(WARM_UP):
        _seconds(step, device)
    while len(found) < 3 or (sum(found) < seconds and len(found) < 20):
        found.append(_seconds(step, device))
        if sum(found) > 2 * seconds:
            break
    return tuple(found)


def _seconds(step: Callable[[], Any], device: Any) -> float:
    import torch

    begun = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return round(time.perf_counter() - begun, 4)


def estimate_aside(job: EstimateJob) -> Estimate:
    """Estimate with the files that nnU-Net writes along the way in a folder that is removed."""
    with tempfile.TemporaryDirectory() as folder:
        trainers = _trainers(job, Path(folder))
        if job.plan_ahead:
            job = job.model_copy(update={"plans_file": str(_planned_aside(job.plan_ahead, Path(folder)))})
        planned_already = bool(job.plans_file)
        data = _with_data(Path(job.plans_file), job.configuration, Path(folder)) if planned_already else folder
        os.environ.update({"nnUNet_raw": folder, "nnUNet_preprocessed": str(data), "nnUNet_results": folder})
        os.environ["nnUNet_extTrainer"] = trainers  # noqa: SIM112 - nnU-Net's own spelling
        return estimate(job) if planned_already else trainer_alone(job)


def _trainers(job: EstimateJob, aside: Path) -> str:
    """All folders of trainers, and one for a trainer whose file is not written yet."""
    made = aside / "trainers"
    made.mkdir()
    if job.made_trainer:
        (made / f"{job.trainer}.py").write_text(job.made_trainer, encoding="utf-8")
    return os.pathsep.join((all_trainer_folders(), str(made)))


def _planned_aside(ahead: PlanAhead, aside: Path) -> Path:
    """The plans that a training would make."""
    folder = aside / ahead.dataset_name
    folder.mkdir()
    shutil.copyfile(ahead.fingerprint, folder / "dataset_fingerprint.json")
    os.environ.update({"nnUNet_raw": ahead.raw, "nnUNet_preprocessed": str(aside)})
    name = told_in_a_name(ahead.base, ahead.changes)
    make_plans(ahead.dataset_name, ahead.planner, name, ahead.base, ahead.changes)
    return folder / f"{name}.json"


def _with_data(plans_file: Path, configuration: str, aside: Path) -> Path:
    """A folder of preprocessed datasets for the trainer: the real one, or an empty case where nothing is preprocessed.

    The trainer learns from the ending of the cases how they are stored (nnunetv2 2.8.1, nnUNetTrainer.py:262).
    """
    plans = read_plans(plans_file) or {}
    data = str((planned(plans, configuration) or {}).get("data_identifier", configuration))
    real = plans_file.parent.parent
    if preprocessed_cases(plans_file.parent / data):
        return real
    stand_in = aside / plans_file.parent.name / Path(data).name
    stand_in.mkdir(parents=True)
    (stand_in / "case.b2nd").touch()
    return aside


if __name__ == "__main__":

    def work(job: EstimateJob, say: object) -> Estimate:
        signal.alarm(job.limit_s)
        return estimate_aside(job)

    sys.exit(answer(EstimateJob, work))
