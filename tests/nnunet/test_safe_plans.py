"""Plans that nobody here made: nnU-Net's own pass as they are; what names code, a path or an absurd number does not."""

import copy
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from nnunet_mcp.errors import Refused
from nnunet_mcp.nnunet import plans as lists
from nnunet_mcp.nnunet.safe_plans import judged_dataset, judged_plans, read_plans
from nnunet_mcp.settings import Settings
from tests.kit.strangers import SAMPLES, TEXTS, mutants, sample

CLASSES = {
    *(*lists.NETWORKS, *lists.CONVOLUTIONS, *lists.NORMS, *lists.DROPOUTS, *lists.NONLINEARITIES, *lists.BLOCKS),
    *(*lists.READERS, *lists.NORMALIZATIONS, *lists.RESAMPLINGS, *lists.PREPROCESSORS, *lists.LABEL_MANAGERS),
    *(*lists.PLANNERS, "conv_op", "norm_op", "dropout_op", "nonlin", "block"),
}
LAYERS = ("conv_op", "norm_op", "dropout_op", "nonlin")
# The patch sizes of old plans had other names (nnunetv2 2.8.1, plans_handler.py:44-106).
OLD = {
    "UNet_class_name": "PlainConvUNet",
    "UNet_base_num_features": 32,
    "unet_max_num_features": 320,
    "n_conv_per_stage_encoder": [2, 2],
    "n_conv_per_stage_decoder": [2],
    "num_pool_per_axis": [1, 1],
    "pool_op_kernel_sizes": [[1, 1], [2, 2]],
    "conv_kernel_sizes": [[3, 3], [3, 3]],
}


def two(plans: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = plans["configurations"]["2d"]
    return found


@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: str(file.stem))
def test_plans_of_nnunet_pass_as_they_are(file: Path) -> None:
    plans = json.loads(file.read_text(encoding="utf-8"))

    assert json.dumps(judged_plans(plans, file)) == json.dumps(plans)


def test_plans_of_before_2_3_pass_as_they_are() -> None:
    plans = sample()
    del two(plans)["architecture"]
    two(plans).update(OLD)

    assert judged_plans(plans, "plans.json") == plans


def test_a_configuration_of_ones_own_with_another_batch_passes() -> None:
    plans = sample()
    plans["configurations"]["3d_fullres_bs10"] = {"inherits_from": "3d_fullres", "batch_size": 10}

    assert judged_plans(plans, "plans.json") == plans


@pytest.mark.parametrize("name", ["Dataset022_Größe", "Dataset021_My Data", "Dataset023_a+b", "Dataset024_腹部-CT"])
def test_a_dataset_may_be_called_as_people_call_it(name: str) -> None:
    assert judged_plans({**sample(), "dataset_name": name}, "plans.json")["dataset_name"] == name


@pytest.mark.parametrize("name", ["Dataset001_\u202egpj", "Dataset001_\x1b[31m", "Dataset001_a\nb"])
def test_a_dataset_has_no_name_that_steers_or_hides(name: str) -> None:
    with pytest.raises(Refused, match="dataset_name"):
        judged_plans({**sample(), "dataset_name": name}, "plans.json")


def test_what_other_tools_write_differently_and_means_the_same_passes() -> None:
    plans = sample()
    two(plans)["batch_dice"] = 1
    layers = two(plans)["architecture"]["arch_kwargs"]
    layers.update(nonlin="torch.nn.GELU", nonlin_kwargs={"approximate": "tanh"}, norm_op="torch.nn.Identity")
    described = {"channel_names": {"0": 1}, "labels": {"background": 0.0, "a": [1.0, 2.0]}, "dataset": None}

    assert judged_plans(plans, "plans.json") == plans
    assert judged_dataset(described, "dataset.json") == described


def test_keys_that_nnunet_does_not_read_are_left_out() -> None:
    plans = sample()
    plans["mcpServers"] = {"evil": {"command": "sh"}}
    two(plans)["hook"] = "os.system"
    plans["experiment_planner_used"] = "PlannerOfMyOwn"

    judged = judged_plans(plans, "plans.json")

    assert "mcpServers" not in judged and "hook" not in two(judged)
    assert judged["experiment_planner_used"] is None


def test_the_lists_are_what_nnunet_and_its_networks_have() -> None:
    """Held against the installed files, so that a new version is noticed; nothing of it is imported."""
    import importlib.util

    def found(package: str, pattern: str) -> set[str]:
        spec = importlib.util.find_spec(package.split(".")[0])
        assert spec is not None and spec.origin is not None
        folder = Path(spec.origin).parent.joinpath(*package.split(".")[1:])
        text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py")))
        return set(re.findall(pattern, text, re.MULTILINE))

    assert found("nnunetv2.imageio", r"^class (\w+IO\w*)\(") == set(lists.READERS)
    assert found("nnunetv2.preprocessing.normalization", r"^class (\w+)\(ImageNorm") == set(lists.NORMALIZATIONS)
    assert found("nnunetv2.preprocessing.preprocessors", r"^class (\w+)\(") == set(lists.PREPROCESSORS)
    assert found("nnunetv2.experiment_planning.experiment_planners", r"^class (\w+)\(") == set(lists.PLANNERS)
    assert found("nnunetv2.preprocessing.resampling", r"^def (\w+)\(\s*data") == set(lists.RESAMPLINGS)
    unets = found("dynamic_network_architectures.architectures", r"^class (\w+UN[eE]t)\(")
    assert unets == {name.rpartition(".")[2] for name in lists.NETWORKS}


@pytest.mark.parametrize("name", [text for text in TEXTS if text not in ("conv_op",)][:14])
@pytest.mark.parametrize("layer", [*LAYERS, "block"])
def test_a_layer_that_is_none_is_refused_by_name(layer: str, name: str) -> None:
    plans = sample()
    two(plans)["architecture"]["arch_kwargs"][layer] = name

    with pytest.raises(Refused, match=rf"configurations\.2d\.architecture\.arch_kwargs\.{layer} is "):
        judged_plans(plans, "plans.json")


@pytest.mark.parametrize(
    "place",
    [
        *("image_reader_writer", "label_manager", "preprocessor_name", "resampling_fn_data", "resampling_fn_seg"),
        *("resampling_fn_probabilities", "normalization_schemes", "network_class_name"),
    ],
)
@pytest.mark.parametrize(
    "name", ["Pool", "subprocess.Popen", "join", "BaseReaderWriter", ["ZScoreNormalization", "os"]]
)
def test_a_class_that_nnunet_looks_up_must_be_one_of_its_own(place: str, name: object) -> None:
    plans = sample()
    holder = plans if place in plans else two(plans)
    (holder["architecture"] if place == "network_class_name" else holder)[place] = name

    with pytest.raises(Refused, match=place):
        judged_plans(plans, "plans.json")


@pytest.mark.parametrize(
    "name", ["/home/me/.claude", "../x", "a/b", "..", ".hidden", "-rf", "a\\b", "a\n", "a\0", "", 5]
)
@pytest.mark.parametrize("place", ["plans_name", "dataset_name", "data_identifier", "previous_stage", "next_stage"])
def test_a_name_that_is_used_as_a_path_is_a_plain_name(place: str, name: object) -> None:
    plans = sample()
    (plans if place in plans else two(plans))[place] = name

    with pytest.raises(Refused, match=place):
        judged_plans(plans, "plans.json")


def test_the_name_of_a_configuration_is_a_plain_name() -> None:
    plans = sample()
    plans["configurations"]["2d/../../x"] = two(plans)

    with pytest.raises(Refused, match=r"2d/\.\./\.\./x"):
        judged_plans(plans, "plans.json")


def test_preprocessed_data_never_take_the_place_of_the_labels() -> None:
    plans = sample()
    two(plans)["data_identifier"] = "gt_segmentations"

    with pytest.raises(Refused, match="nnU-Net keeps something else"):
        judged_plans(plans, "plans.json")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("batch_size", 0),
        ("batch_size", True),
        ("batch_size", 10**9),
        ("patch_size", [65536] * 3),
        ("spacing", [0.0, 1.0]),
    ],
)
def test_a_number_out_of_range_is_refused(key: str, value: object) -> None:
    plans = sample()
    two(plans)[key] = value

    with pytest.raises(Refused, match=r"configurations\.2d"):
        judged_plans(plans, "plans.json")


def test_a_network_that_fits_no_memory_is_refused_before_it_is_built() -> None:
    plans = sample()
    wide = {"features_per_stage": [8192] * 8, "kernel_sizes": [[31, 31]] * 8}
    two(plans)["architecture"]["arch_kwargs"].update(wide)

    with pytest.raises(Refused, match=r"more than [0-9,]+ weights"):
        judged_plans(plans, "plans.json")


def test_an_argument_that_nnunets_networks_do_not_have_is_refused_instead_of_left_out() -> None:
    plans = sample()
    two(plans)["architecture"]["arch_kwargs"]["pool"] = "torch.nn.MaxPool2d"

    with pytest.raises(Refused, match="pool"):
        judged_plans(plans, "plans.json")


@pytest.mark.heavy
def test_no_mutation_of_plans_passes_with_code_or_a_path_in_it() -> None:
    plain, passed, slowest = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*|Dataset\d{3}_[^/\\]*"), 0, 0.0
    for plans in mutants(1000, seed=2027):
        begun = time.perf_counter()
        try:
            judged = judged_plans(plans, "plans.json")
        except Refused as error:
            assert len(str(error)) < 3000 and str(error).isprintable()
        else:
            passed += 1
            assert all(text in CLASSES or plain.fullmatch(text) for text in every_text(judged))
        slowest = max(slowest, time.perf_counter() - begun)
    assert 0 < passed < 500 and slowest < 5


def every_text(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in every_text(part)]
    if isinstance(value, list):
        return [text for part in value for text in every_text(part)]
    return [value] if isinstance(value, str) else []


def test_a_persons_own_plans_may_name_ones_own_network_where_the_server_says_so(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plans = sample()
    two(plans)["architecture"]["network_class_name"] = "my_project.MyNet"
    own, other = settings.folder("preprocessed") / "mine.json", tmp_path / "theirs.json"
    for path in (own, other):
        path.write_text(json.dumps(plans), encoding="utf-8")

    with pytest.raises(Refused, match=r"my_project\.MyNet.*NNUNET_MCP_TRUST_PLANS=1"):
        read_plans(own)
    monkeypatch.setenv("NNUNET_MCP_TRUST_PLANS", "1")

    assert read_plans(own) == plans
    with pytest.raises(Refused, match=r"my_project\.MyNet"):
        read_plans(other)


DESCRIPTION = {
    "channel_names": {"0": "MRI"},
    "labels": {"background": 0, "whole": [1, 2], "inner": 2, "ignore": 3},
    "regions_class_order": [1, 2],
    "numTraining": 6,
    "file_ending": ".nii.gz",
    "overwrite_image_reader_writer": "NibabelIO",
    "dataset": {"a": {"images": ["../elsewhere/a.nii.gz"], "label": "labelsTr/a.nii.gz"}},
}


def test_a_dataset_json_passes_without_what_nnunet_does_not_read() -> None:
    assert judged_dataset({**DESCRIPTION, "hook": "x"}, "dataset.json") == DESCRIPTION


@pytest.mark.parametrize(
    "wrong",
    [
        {"file_ending": ".nii.gz/../../x"},
        {"file_ending": "nii"},
        {"overwrite_image_reader_writer": "Popen"},
        {"channel_names": {"../0": "MRI"}},
        {"labels": {"a": -1}},
        {"labels": {"a": 10**30}},
        {"labels": ["a"]},
        {"regions_class_order": ["os.system"]},
    ],
)
def test_a_dataset_json_that_nnunet_never_wrote_is_refused(wrong: dict[str, Any]) -> None:
    (key,) = wrong

    with pytest.raises(Refused, match=key):
        judged_dataset({**copy.deepcopy(DESCRIPTION), **wrong}, "dataset.json")
