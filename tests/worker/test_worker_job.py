"""What a stage's worker takes from the request."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from nnunet_mcp.files import write_model
from nnunet_mcp.liveness import host_name
from nnunet_mcp.runs.layout import RunDir
from nnunet_mcp.schemas.records import RunRecord, StageSpec
from nnunet_mcp.settings import Settings
from nnunet_mcp.worker import nnunet_seam
from nnunet_mcp.worker.resources import fit_to_machine
from nnunet_mcp.worker.stage import Job, StageFailure
from nnunet_mcp.worker.steps import preprocess, train
from tests.kit.tiny import training_as_asked, training_job


def jobs_of(settings: Settings, folder: Path, request: dict[str, object], *stages: StageSpec) -> list[Job]:
    """The stages of a run that was asked for so, as their workers see them."""
    record = RunRecord(
        run_id="d060-2d-f0-k7m3",
        created_at=0.0,
        job=training_as_asked({"request": request}),
        dataset_name="Dataset060_Large",
        device="cpu",
        folders=settings.folders,
        stages=stages,
        host=host_name(),
    )
    run = RunDir(folder / record.run_id)
    for spec in stages:
        run.stage(spec.name).path.mkdir(parents=True)
    write_model(run.run_file, record)
    return [Job.of(str(run.path), spec.name) for spec in stages]


def test_the_lowres_models_of_a_cascade_are_not_what_the_request_wants_overwritten_or_transferred(
    settings: Settings, tmp_path: Path
) -> None:
    request = {
        "dataset_id": 60,
        "configuration": "3d_cascade_fullres",
        "overwrite": True,
        "npz": True,
        "pretrained_weights": "/models/checkpoint_final.pth",
    }
    lowres, asked = jobs_of(
        settings,
        tmp_path,
        request,
        StageSpec(name="lowres_fold_1", kind="train", configuration="3d_lowres", fold="1"),
        StageSpec(name="train_fold_0", kind="train", configuration="3d_cascade_fullres", fold="0"),
    )

    assert (lowres.asked("overwrite"), lowres.asked("npz"), lowres.weights) == (False, False, None)
    assert asked.asked("overwrite") and asked.asked("npz")
    assert asked.weights == Path("/models/checkpoint_final.pth")


@pytest.mark.heavy  # imports nnU-Net
def test_a_fold_that_goes_on_is_not_given_the_pretrained_weights_again(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nnunetv2.run import run_training

    weights = "/models/checkpoint_final.pth"
    asked = {"dataset_id": 60, "configuration": "2d", "fold": "0", "pretrained_weights": weights}
    spec = StageSpec(name="train_fold_0", kind="train", configuration="2d", fold="0")
    [job] = jobs_of(settings, tmp_path, asked, spec)
    given = []
    monkeypatch.setattr(train, "install", lambda job: None)
    monkeypatch.setattr(nnunet_seam, "replace", lambda place, made: None)
    monkeypatch.setattr(run_training, "run_training", lambda **asked: given.append(asked["pretrained_weights"]))

    for resume in (False, True):
        train._run_nnunet(job, resume=resume)

    assert given == [weights, None]


def test_a_cpu_training_gets_settings_that_fit_and_the_users_own_win() -> None:
    chosen = fit_to_machine("train", "cpu", {})

    assert (chosen["nnUNet_n_proc_DA"], chosen["OMP_WAIT_POLICY"]) == ("1", "PASSIVE")
    assert fit_to_machine("train", "cpu", {"OMP_WAIT_POLICY": "ACTIVE", "nnUNet_n_proc_DA": "3"}).keys() == {
        "nnUNet_def_n_proc"
    }
    assert "OMP_WAIT_POLICY" not in fit_to_machine("train", "cuda", {})


PAGES_OF_FIFTY_STEPS = """
import resource
from nnunet_mcp.worker.resources import fit_this_process
fit_this_process("{device}")
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    bytearray(32 * 1024**2)[::4096]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages_asked_for(device: str, **own: str) -> int:
    """How often 50 steps that need the same 32 MiB must ask the system for memory."""
    code = PAGES_OF_FIFTY_STEPS.format(device=device)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")} | own
    return int(subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True).stdout)


@pytest.mark.heavy
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_a_cpu_training_keeps_freed_memory_for_the_next_step_unless_the_user_set_malloc_themselves() -> None:
    given_back_each_time = pages_asked_for("cuda")

    assert pages_asked_for("cpu") < given_back_each_time / 5
    assert pages_asked_for("cpu", MALLOC_TRIM_THRESHOLD_="0", MALLOC_MMAP_THRESHOLD_="65536") > given_back_each_time / 5


LOSSES_OF_NNUNETS_NETWORK = """
import os
from nnunet_mcp.worker.resources import fit_this_process, fit_to_machine, usable_cores
if {fitted}:
    os.environ.update(fit_to_machine("train", "cpu", {{}}))
import torch
fit_this_process("cpu") if {fitted} else torch.set_num_threads(usable_cores())
from dynamic_network_architectures.architectures.unet import PlainConvUNet
torch.manual_seed(7)
layers = dict(norm_op=torch.nn.InstanceNorm3d, norm_op_kwargs=dict(affine=True), nonlin=torch.nn.LeakyReLU)
sizes = dict(features_per_stage=[8, 16, 32], kernel_sizes=3, strides=[1, 2, 2], n_conv_per_stage=2)
network = PlainConvUNet(1, 3, conv_op=torch.nn.Conv3d, num_classes=3, n_conv_per_stage_decoder=2, **sizes, **layers)
optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.99, nesterov=True)
images, labels = torch.randn(2, 1, 32, 32, 32), torch.randint(0, 3, (2, 32, 32, 32))
for _ in range(8):
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(loss.item().hex())
"""


@pytest.mark.heavy
def test_fitting_a_training_to_the_cpu_leaves_every_bit_of_its_losses_as_it_is() -> None:
    def losses(*, fitted: bool) -> list[str]:
        code = LOSSES_OF_NNUNETS_NETWORK.format(fitted=fitted)
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        return done.stdout.splitlines()

    as_it_comes = losses(fitted=False)

    assert len(set(as_it_comes)) == 8
    assert losses(fitted=True) == as_it_comes


@pytest.mark.parametrize("kind", ["preprocess", "train"])
def test_a_batch_that_is_smaller_than_the_number_of_gpus_is_refused_once_it_is_planned(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Before the processes of the GPUs are started, and before anything waits for so many GPUs."""
    job = training_job(settings, num_gpus=3, device="cuda")
    job.files.preprocessed.mkdir(parents=True)
    plans = {"configurations": {"2d": {"data_identifier": "nnUNetPlans_2d", "batch_size": 2}}}
    job.files.plans_file("nnUNetPlans").write_text(json.dumps(plans), encoding="utf-8")
    monkeypatch.setattr(preprocess.Preprocessing, "carry_out", lambda self: [])
    monkeypatch.setattr(preprocess, "raw_identity", lambda files: "")
    monkeypatch.setattr(preprocess, "end_when_a_pool_process_is_killed", lambda stage: None)
    module = {"preprocess": preprocess, "train": train}[kind]

    with pytest.raises(StageFailure, match=r"num_gpus=3.*batch of 2 for 2d.*num_gpus=2 or less"):
        module.carry_out(job)
