"""Every place where we replace something of nnU-Net's, or build on how it works inside.

Nothing outside this file assigns to an object of nnU-Net's: `replace`, `replaced`, `replace_on`, `replaced_on` and
`write` take a name of the table below and refuse any other. What `worker/` imports from nnU-Net is in the table, too
(a test reads all its files), so the table is the whole of what a new release can break.

`differences` compares the table with what is installed: a name that is gone, other parameters, or, for functions whose
inside matters, another source text. `nnunet-mcp doctor` shows it. For a new release run

    python -P -m nnunet_mcp.worker.nnunet_seam

It prints each difference with what we rely on there, and the new row for the table, to be used once that holds again.
"""

import functools
import hashlib
import importlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Place:
    """One name of nnU-Net, or of a package below it, and what we rely on there."""

    target: str  # module:name, as we reach it
    source: str  # file:line of nnU-Net 2.8.1, or of the package that defines it
    relies_on: str
    signature: str = ""  # names of the parameters; "=" marks optional ones
    digest: str = ""  # of the source text; empty if only name and parameters matter, or if Python versions differ
    names: tuple[str, ...] = ()  # words that have to be in the source text
    on_main: bool = False  # only nnU-Net's main branch has it, July 2026 (0e495086); nothing else needs it


# Modules and classes with several names in the table.
TRAINER = "nnunetv2.training.nnUNetTrainer.nnUNetTrainer:nnUNetTrainer"
WAITS = "nnunetv2.training.nnUNetTrainer.nnUNetTrainer:check_workers_alive_and_busy"
PREDICTOR = "nnunetv2.inference.predict_from_raw_data:nnUNetPredictor"
FINDS_TRAINERS = "nnunetv2.inference.predict_from_raw_data:recursive_find_trainer_class_by_name"
RUN = "nnunetv2.run.run_training"
LOGGER = "nnunetv2.training.logging.nnunet_logger"
FILES = "batchgenerators.utilities.file_and_folder_operations"
SEARCH = "nnunetv2.evaluation.find_best_configuration"
PLANNING = "nnunetv2.experiment_planning"
LIKE_NNSSL = f"{PLANNING}.like_nnssl"
PRETRAINED = "nnunetv2.training.nnUNetTrainer.pretraining.pretrainedTrainer:PretrainedTrainer"
PLANNER = f"{PLANNING}.experiment_planners.default_experiment_planner:ExperimentPlanner"

REPLACED = (
    # A training: nnunet_mcp/worker/training/.
    Place(
        f"{RUN}:get_trainer_from_args",
        "run/run_training.py:31",
        ("run_training and run_ddp call it by this name of their module, and use the trainer that it returns"),
        signature=(
            "(dataset_name_or_id, configuration, fold, trainer_name=, plans_identifier=, continue_training=, device=)"
        ),
        digest="5bee7930bb6f",
    ),
    Place(
        f"{RUN}:maybe_load_checkpoint",
        "run/run_training.py:63",
        ("called after the trainer is made, with these four in this order; loading is all that it does"),
        signature="(nnunet_trainer, continue_training, validation_only, pretrained_weights_file=)",
        digest="401db73a3f14",
    ),
    Place(
        f"{RUN}:run_ddp",
        "run/run_training.py:103",
        "mp.spawn gets it by this name, with the rank and then these arguments",
        signature=(
            "(rank, dataset_name_or_id, configuration, fold, tr, p, disable_checkpointing, c, val, "
            "pretrained_weights, npz, val_with_best, world_size)"
        ),
        digest="af52d65b89e8",
    ),
    Place(
        f"{TRAINER}.do_split",
        "training/nnUNetTrainer/nnUNetTrainer.py:596",
        ("called for the data and again for the validation; returns the training and the validation cases"),
        signature="(self)",
        digest="a7ac0e9b4296",
    ),
    Place(
        f"{TRAINER}.on_epoch_start",
        "training/nnUNetTrainer/nnUNetTrainer.py:1166",
        "the first thing in an epoch",
        signature="(self)",
        digest="b5839a839dd4",
    ),
    Place(
        f"{TRAINER}.on_epoch_end",
        "training/nnUNetTrainer/nnUNetTrainer.py:1169",
        "logs, saves and draws, and counts the epoch as its last act",
        signature="(self)",
        digest="cb9ff905a3a4",
    ),
    Place(
        f"{TRAINER}.train_step",
        "training/nnUNetTrainer/nnUNetTrainer.py:1019",
        "one batch; returns when the GPU is done, as it reads the loss back",
        signature="(self, batch)",
        digest="aac5fa9fda6d",
    ),
    Place(
        f"{TRAINER}.validation_step",
        "training/nnUNetTrainer/nnUNetTrainer.py:1066",
        "one batch; returns when the GPU is done",
        signature="(self, batch)",
        digest="bd84e8cca324",
    ),
    Place(
        f"{TRAINER}.save_checkpoint",
        "training/nnUNetTrainer/nnUNetTrainer.py:1195",
        "writes one file, with current_epoch + 1 in it",
        signature="(self, filename)",
        digest="d8d53bc50b77",
    ),
    Place(
        f"{TRAINER}.load_checkpoint",
        "training/nnUNetTrainer/nnUNetTrainer.py:1220",
        "torch.load of the whole file on the way; sets current_epoch and the logger's history",
        signature="(self, filename_or_checkpoint)",
        digest="1d72ea6a5f05",
    ),
    Place(
        f"{TRAINER}.on_train_end",
        "training/nnUNetTrainer/nnUNetTrainer.py:983",
        "saves checkpoint_final, having taken the epoch back by one, and ends the loaders",
        signature="(self)",
        digest="c4783dbe6fbe",
    ),
    Place(
        f"{TRAINER}.perform_actual_validation",
        "training/nnUNetTrainer/nnUNetTrainer.py:1258",
        ("reads the split again, shares the cases out by rank, makes a predictor of its own, waits for its pool"),
        signature="(self, save_probabilities=)",
        digest="fbaf650b60eb",
    ),
    Place(
        WAITS,
        "utilities/file_path_utilities.py:94",
        "perform_actual_validation asks it by this name whether it has to wait",
        signature="(export_pool, worker_list, results_list, allowed_num_queued=)",
        digest="07a079c91c7e",
    ),
    Place(
        f"{LOGGER}:MetaLogger.plot_progress_png",
        "training/logging/nnunet_logger.py:104",
        "draws progress.png and nothing else",
        signature="(self, output_folder)",
        digest="6ee4654e09d8",
    ),
    Place(
        "torch.nn:Module.forward",
        "torch/nn/modules/module.py:391",
        "a network is called through it; one of the object's own comes before the class's",
    ),
    # A prediction, and the prediction in a validation.
    Place(
        f"{PREDICTOR}.predict_sliding_window_return_logits",
        "torch/utils/_contextlib.py:666",
        "once for each case, or each fold of a model",
        signature="(self, input_image)",
        digest="c6ea45b42abd",
    ),
    Place(
        f"{PREDICTOR}._internal_get_data_iterator_from_lists_of_filenames",
        "inference/predict_from_raw_data.py:283",
        "called once by predict_from_files; yields each case with data, data_properties and ofile",
        signature="(self, input_list_of_lists, seg_from_prev_stage_files, output_filenames_truncated, num_processes)",
        digest="00b50f48231d",
    ),
    Place(
        f"{PREDICTOR}.predict_from_data_iterator",
        "inference/predict_from_raw_data.py:363",
        "called once by predict_from_files; takes a case, with its name as ofile, and predicts it before the next",
        signature="(self, data_iterator, save_probabilities=, num_processes_segmentation_export=)",
        digest="005b93fc2aff",
    ),
    Place(
        f"{PREDICTOR}.predict_logits_from_preprocessed_data",
        "torch/utils/_contextlib.py:500",
        "once for each case; returns the mean of its folds' logits, before they are resampled",
        signature="(self, data)",
        digest="de80a89cf567",
    ),
    Place(
        f"{PREDICTOR}._internal_maybe_mirror_and_predict",
        "torch/utils/_contextlib.py:573",
        "once for each patch; the network is the predictor's",
        signature="(self, x)",
        digest="9de7c5edd357",
    ),
    Place(
        "torch:load",
        "torch/serialization.py:1315",
        "the trainer and the predictor read checkpoints with it, by this name of torch's",
        signature="(f, map_location=, pickle_module=, weights_only=, mmap=, **pickle_load_args)",
    ),
    # Preprocessing.
    Place(
        f"{PLANNING}.dataset_fingerprint.fingerprint_extractor:tqdm",
        "tqdm/std.py:242",
        "its progress bar: used as a context, and updated by one for each case",
    ),
    Place(
        "nnunetv2.preprocessing.preprocessors.default_preprocessor:tqdm",
        "tqdm/std.py:242",
        "its progress bar: used as a context, and updated by one for each case",
    ),
    Place(
        f"{PLANNING}.plan_and_preprocess_api:convert_id_to_dataset_name",
        "utilities/dataset_name_id_conversion.py:42",
        ("preprocess_dataset looks the dataset up with it, and fails where two folders share an id"),
        signature="(dataset_id)",
    ),
    Place(
        f"{PLANNING}.plans_for_pretraining.move_plans_between_datasets:maybe_convert_to_dataset_name",
        "utilities/dataset_name_id_conversion.py:65",
        "looks both datasets up; an absolute folder in place of a name leads it elsewhere",
        signature="(dataset_name_or_id)",
    ),
    # Plans for a checkpoint of nnssl, and training on from it.
    Place(
        f"{LIKE_NNSSL}:nnUNet_preprocessed",
        "experiment_planning/like_nnssl.py:11",
        "the folder of the dataset with the plans to adapt is looked up in it",
        on_main=True,
    ),
    Place(
        f"{LIKE_NNSSL}:convert_id_to_dataset_name",
        "utilities/dataset_name_id_conversion.py:42",
        "looks the dataset up, and fails where two folders share an id",
        signature="(dataset_id)",
        on_main=True,
    ),
    Place(
        f"{LIKE_NNSSL}:save_json",
        "batchgenerators/utilities/file_and_folder_operations.py:108",
        "gets the finished plans; what comes after it is the preprocessing",
        signature="(obj, file, indent=, sort_keys=)",
        on_main=True,
    ),
    Place(
        FINDS_TRAINERS,
        "utilities/find_objects.py:9",
        "the class that is asked for the network",
        signature="(trainer_name)",
    ),
    # The search for the best configuration: its three steps, told one by one.
    Place(
        f"{SEARCH}:accumulate_cv_results",
        "evaluation/accumulate_cv_results.py:12",
        "called once for each model",
        signature="(trained_model_folder, merged_output_folder, folds, num_processes=, overwrite=)",
    ),
    Place(
        f"{SEARCH}:ensemble_crossvalidations",
        "ensembling/ensemble.py:129",
        "called once for each pair of models",
        signature="(list_of_trained_model_folders, output_folder, folds=, num_processes=, overwrite=)",
    ),
    Place(
        f"{SEARCH}:determine_postprocessing",
        "postprocessing/remove_connected_components.py:52",
        "called once, for the best; what it decides and writes, worker/best_postprocessing.py does",
        signature=(
            "(folder_predictions, folder_ref, plans_file_or_dict, dataset_json_file_or_dict, "
            "num_processes=, keep_postprocessed_files=)"
        ),
        digest="590d980b82b0",
    ),
    # What nnU-Net reads and which processes it starts.
    Place(
        f"{FILES}:load_json",
        "batchgenerators/utilities/file_and_folder_operations.py:102",
        "every JSON file of nnU-Net's is read with it",
        signature="(file)",
        digest="0f5c6298ffc8",
    ),
    Place(
        f"{FILES}:load_pickle",
        "batchgenerators/utilities/file_and_folder_operations.py:91",
        "the properties of every preprocessed case are read with it",
        signature="(file, mode=)",
        digest="6fec665ea3c9",
    ),
    Place(
        "multiprocessing.spawn:get_command_line",
        "Python's multiprocessing/spawn.py",
        "popen_spawn_posix.py starts each new process with it; one of its words is the code that the process runs",
        signature="(**kwds)",
    ),
    Place(
        "multiprocessing.context:SpawnContext.Pool",
        "Python's multiprocessing/context.py",
        "nnU-Net makes its pools by get_context('spawn').Pool",
        signature="(self, processes=, initializer=, initargs=, maxtasksperchild=)",
    ),
    Place(
        "multiprocessing.pool:Pool._join_exited_workers",
        "Python's multiprocessing/pool.py",
        ("a pool calls it again and again with its list of workers, and it takes those that ended out"),
        signature="(pool)",
    ),
)

BUILT_ON = (
    # Objects whose attributes we read, and the few that we write.
    Place(
        TRAINER,
        "training/nnUNetTrainer/nnUNetTrainer.py:75",
        "the attributes of a trainer",
        names=(
            "was_initialized",
            "local_rank",
            "is_ddp",
            "device",
            "current_epoch",
            "num_epochs",
            "num_iterations_per_epoch",
            "num_val_iterations_per_epoch",
            "network",
            "loss",
            "logger",
            "dataloader_train",
            "dataloader_val",
            "batch_size",
            "num_input_channels",
            "label_manager",
            "configuration_manager",
            "enable_deep_supervision",
            "my_init_kwargs",
            "preprocessed_dataset_folder",
            "print_to_log_file",
            "disable_checkpointing",
        ),
    ),
    Place(
        f"{TRAINER}.__init__",
        "training/nnUNetTrainer/nnUNetTrainer.py:76",
        ("takes plans with continue_training in them, and keeps its arguments in my_init_kwargs"),
        digest="9a20c88139d0",
    ),
    Place(
        f"{TRAINER}.initialize",
        "training/nnUNetTrainer/nnUNetTrainer.py:209",
        "builds the network, the optimizer and the loss, and compiles",
        digest="c379c4c2e1c8",
    ),
    Place(
        f"{TRAINER}._do_i_compile",
        "training/nnUNetTrainer/nnUNetTrainer.py:280",
        "nnUNet_compile=f leaves torch.compile out",
        digest="ac9be9738efe",
    ),
    Place(
        f"{TRAINER}._build_loss",
        "training/nnUNetTrainer/nnUNetTrainer.py:436",
        ("the weights of deep supervision, which suit DDP only while it compiles; compiles a part of the loss"),
        digest="89328ef19f35",
    ),
    Place(
        f"{TRAINER}._set_batch_size_and_oversample",
        "training/nnUNetTrainer/nnUNetTrainer.py:391",
        "stops where there are more ranks than the batch has samples",
        digest="cb87c7600248",
    ),
    Place(
        f"{TRAINER}._get_deep_supervision_scales",
        "training/nnUNetTrainer/nnUNetTrainer.py:383",
        "the shapes of a batch's targets",
        digest="80fe41b0a23a",
    ),
    Place(
        f"{TRAINER}.run_training",
        "training/nnUNetTrainer/nnUNetTrainer.py:1417",
        "the order of the hooks in an epoch",
        digest="0e2d642aa0f6",
    ),
    Place(
        PREDICTOR,
        "inference/predict_from_raw_data.py:40",
        "the predictor's network, and what its checkpoints hold",
        names=(
            "network",
            "trainer_name",
            "init_args",
            "inference_allowed_mirroring_axes",
            "label_manager",
            "list_of_parameters",
            "plans_manager",
            "configuration_manager",
            "dataset_json",
            "predict_logits_from_preprocessed_data",
        ),
    ),
    Place(
        f"{PREDICTOR}.__init__",
        "inference/predict_from_raw_data.py:41",
        "a predictor for one device, without its progress bar",
        signature=(
            "(self, tile_step_size=, use_gaussian=, use_mirroring=, perform_everything_on_device=, "
            "device=, verbose=, verbose_preprocessing=, allow_tqdm=)"
        ),
    ),
    Place(
        f"{PREDICTOR}.initialize_from_trained_model_folder",
        "inference/predict_from_raw_data.py:68",
        ("torch.load of each fold's checkpoint; looks trainer and configuration up by their names in it"),
        digest="d4c67bd62bb9",
    ),
    Place(
        f"{PREDICTOR}.predict_from_files",
        "inference/predict_from_raw_data.py:220",
        "predicts into truncated names, each case's segmentation after its probabilities",
        signature=(
            "(self, list_of_lists_or_source_folder, output_folder_or_list_of_truncated_output_files, "
            "save_probabilities=, overwrite=, num_processes_preprocessing=, "
            "num_processes_segmentation_export=, folder_with_segs_from_prev_stage=, num_parts=, "
            "part_id=)"
        ),
    ),
    Place(
        f"{LOGGER}:MetaLogger",
        "training/logging/nnunet_logger.py:27",
        "loggers gets one more, whose update_config, log and log_summary are called",
        names=("self.loggers", "update_config(", "log(", "log_summary(", "local_logger", "get_value"),
    ),
    Place(
        f"{LOGGER}:LocalLogger",
        "training/logging/nnunet_logger.py:138",
        "the history of all epochs by name; epoch_end_timestamps comes last in an epoch",
        names=(
            "my_fantastic_logging",
            "train_losses",
            "val_losses",
            "lrs",
            "mean_fg_dice",
            "ema_fg_dice",
            "dice_per_class_or_region",
            "epoch_start_timestamps",
            "epoch_end_timestamps",
        ),
    ),
    # Functions that do a step as nnU-Net's own commands do it.
    Place(
        f"{RUN}:run_training",
        "run/run_training.py:130",
        "a whole training, through the three names that are replaced above",
        digest="942a6920639c",
    ),
    Place(
        "nnunetv2.run.load_pretrained_weights:load_pretrained_weights",
        "run/load_pretrained_weights.py:7",
        ("takes network_weights of a file into the network, but for the layers with .seg_layers. in their name"),
        digest="1dc18e4eb8cc",
    ),
    Place(
        "nnunetv2.utilities.find_objects:recursive_find_trainer_class_by_name",
        "utilities/find_objects.py:9",
        "finds trainers of one's own, too",
        signature="(trainer_name)",
    ),
    Place(
        "nnunetv2.utilities.find_class_by_name:recursive_find_python_class",
        "utilities/find_class_by_name.py:127",
        "finds planners by name",
        signature=("(folder, class_name, current_module, base_folder=, verbose=, cleanup_imports_from_base_folder=)"),
    ),
    Place(
        f"{PLANNING}.experiment_planners.network_topology:get_pool_and_conv_props",
        "experiment_planning/experiment_planners/network_topology.py:30",
        "the poolings and kernels for a patch, which it pads to what they divide",
        digest="a04c4645bafd",
    ),
    Place(
        f"{PLANNER}.get_plans_for_configuration",
        "experiment_planning/experiment_planners/default_experiment_planner.py:228",
        "network and batch for a patch; for another patch they are found as at its end",
        digest="535c5777f394",
    ),
    Place(
        f"{PLANNER}.determine_normalization_scheme_and_whether_mask_is_used_for_norm",
        "experiment_planning/experiment_planners/default_experiment_planner.py:198",
        "by the names of the channels in self.dataset_json",
        digest="c9a27daa5cf4",
    ),
    Place(
        f"{PLANNER}.generate_data_identifier",
        "experiment_planning/experiment_planners/default_experiment_planner.py:562",
        "the identifier of the plans, an underscore, the configuration; presets have that of nnUNetPlans",
        digest="62d9a94be1f6",
    ),
    Place(
        f"{PLANNER}.save_plans",
        "experiment_planning/experiment_planners/default_experiment_planner.py:543",
        "writes the file of the plans, whose planner is in it",
        digest="f2a8a09f50fe",
    ),
    Place(
        f"{PLANNING}.verify_dataset_integrity:verify_dataset_integrity",
        "experiment_planning/verify_dataset_integrity.py:125",
        "looks at every case, and waits for ever for a process that was killed",
        signature="(folder, num_processes=)",
    ),
    Place(
        f"{PLANNING}.dataset_fingerprint.fingerprint_extractor:DatasetFingerprintExtractor",
        "experiment_planning/dataset_fingerprint/fingerprint_extractor.py:18",
        "named by the dataset; run(overwrite_existing) writes dataset_fingerprint.json",
        signature="(dataset_name_or_id, num_processes=, verbose=)",
        names=("tqdm(", "def run(self, overwrite_existing"),
    ),
    Place(
        f"{PLANNER}.determine_reader_writer",
        "experiment_planning/experiment_planners/default_experiment_planner.py:89",
        "opens an image to choose the reader, which says nothing about patch, batch and memory",
        signature="(self)",
        digest="4ba7bddbf3db",
    ),
    Place(
        "nnunetv2.utilities.plans_handling.plans_handler:PlansManager",
        "utilities/plans_handling/plans_handler.py:214",
        "takes plans that are not on disk",
        signature="(plans_file_or_dict)",
        names=("get_configuration",),
    ),
    Place(
        "nnunetv2.utilities.get_network_from_plans:get_network_from_plans",
        "utilities/get_network_from_plans.py:9",
        "builds the network; allow_init=False leaves out its initial weights",
        signature=(
            "(arch_class_name, arch_kwargs, arch_kwargs_req_import, input_channels, output_channels, allow_init=, "
            "deep_supervision=)"
        ),
        digest="d2f1fda412e9",
    ),
    Place(
        "nnunetv2.utilities.label_handling.label_handling:determine_num_input_channels",
        "utilities/label_handling/label_handling.py:294",
        "counts the labels of the stage before as channels of a cascade",
        signature="(plans_manager, configuration_or_config_manager, dataset_json)",
        digest="c7a29aeca7d3",
    ),
    Place(
        f"{PLANNING}.plan_and_preprocess_api:preprocess_dataset",
        "experiment_planning/plan_and_preprocess_api.py:103",
        ("preprocesses the configurations, then copies labels into gt_segmentations where they are newer"),
        digest="2b070460812a",
    ),
    Place(
        "nnunetv2.preprocessing.preprocessors.default_preprocessor:DefaultPreprocessor.run",
        "preprocessing/preprocessors/default_preprocessor.py:349",
        "removes the folder of the data before it fills it anew",
        digest="6a810b23b68f",
    ),
    Place(
        f"{PLANNING}.plans_for_pretraining.move_plans_between_datasets:move_plans_between_datasets",
        "experiment_planning/plans_for_pretraining/move_plans_between_datasets.py:12",
        "writes the plans under another name for another dataset",
        digest="d00dac83a7a1",
    ),
    Place(
        f"{LIKE_NNSSL}:preprocess_like_nnssl",
        "experiment_planning/like_nnssl.py:86",
        "adapts nnUNetPlans to a checkpoint, saves them by save_json and preprocesses",
        digest="8e7a4a05ec08",
        on_main=True,
    ),
    Place(
        PRETRAINED,
        "training/nnUNetTrainer/pretraining/pretrainedTrainer.py:23",
        "reads the checkpoint that its plans name when it is initialized, unless use_pretrained_weights is false",
        names=("use_pretrained_weights", "print_citations"),
        on_main=True,
    ),
    Place(
        f"{PRETRAINED}.load_pretrained_weights",
        "training/nnUNetTrainer/pretraining/pretrainedTrainer.py:151",
        "loads stem and encoder into a network, repeated for more channels and interpolated for another patch",
        digest="effe11955cd1",
        on_main=True,
    ),
    Place(
        f"{PRETRAINED}.build_network_architecture",
        "training/nnUNetTrainer/pretraining/pretrainedTrainer.py:344",
        "builds the network by its name; nnU-Net's predictor does not give the patch that it asks for",
        digest="6c5c23ba0361",
        on_main=True,
    ),
    Place(
        "nnunetv2.imageio.reader_writer_registry:determine_reader_writer_from_dataset_json",
        "imageio/reader_writer_registry.py:23",
        "the class that reads the dataset's images",
        signature="(dataset_json_content, example_file=, allow_nonmatching_filename=, verbose=)",
    ),
    Place(
        "nnunetv2.evaluation.accumulate_cv_results:accumulate_cv_results",
        "evaluation/accumulate_cv_results.py:12",
        "merges the folds' validations into an empty folder",
        digest="8431adab0726",
    ),
    Place(
        "nnunetv2.evaluation.evaluate_predictions:compute_metrics",
        "evaluation/evaluate_predictions.py:88",
        "reads both images with read_seg of the reader that it gets, and counts each class in them",
        signature="(reference_file, prediction_file, image_reader_writer, labels_or_regions, ignore_label=)",
        digest="ef1a135a9c9e",
    ),
    Place(
        "nnunetv2.evaluation.evaluate_predictions:compute_metrics_on_folder",
        "evaluation/evaluate_predictions.py:121",
        "its means over cases and classes are ours",
        digest="98d5718a5cc4",
    ),
    Place(
        "nnunetv2.evaluation.evaluate_predictions:region_or_label_to_mask",
        "evaluation/evaluate_predictions.py:66",
        "the voxels of a class",
        signature="(segmentation, region_or_label)",
    ),
    Place(
        "nnunetv2.evaluation.evaluate_predictions:save_summary_json",
        "evaluation/evaluate_predictions.py:33",
        "writes summary.json",
        signature="(results, output_file)",
    ),
    Place(
        "nnunetv2.evaluation.evaluate_predictions:load_summary_json",
        "evaluation/evaluate_predictions.py:50",
        "reads summary.json, with labels and regions as keys",
        signature="(filename)",
    ),
    Place(
        "nnunetv2.evaluation.evaluate_predictions:label_or_region_to_key",
        "evaluation/evaluate_predictions.py:19",
        "a label or region as a key of summary.json and postprocessing.json",
        signature="(label_or_region)",
    ),
    Place(
        "nnunetv2.utilities.json_export:recursive_fix_for_json_export",
        "utilities/json_export.py:7",
        "makes numpy's numbers Python's, in place",
        signature="(my_dict)",
    ),
    Place(
        "nnunetv2.imageio.reader_writer_registry:",
        "imageio/reader_writer_registry.py:1",
        "the classes that read volumes, pictures and stacks of slices",
        names=("NaturalImage2DIO", "SimpleITKIO", "Tiff3DIO"),
    ),
    Place(
        f"{SEARCH}:find_best_configuration",
        "evaluation/find_best_configuration.py:82",
        "the whole search; empties the folders that it writes",
        digest="73cb2de039b7",
    ),
    Place(
        "nnunetv2.ensembling.ensemble:ensemble_folders",
        "ensembling/ensemble.py:50",
        "merges every .npz of the folders",
        digest="953f5f6eac02",
    ),
    Place(
        "nnunetv2.postprocessing.remove_connected_components:apply_postprocessing_to_folder",
        "postprocessing/remove_connected_components.py:247",
        "from one folder into another",
        signature=(
            "(input_folder, output_folder, pp_fns, pp_fn_kwargs, plans_file_or_dict=, "
            "dataset_json_file_or_dict=, num_processes=)"
        ),
    ),
    Place(
        "nnunetv2.postprocessing.remove_connected_components:remove_all_but_largest_component_from_segmentation",
        "postprocessing/remove_connected_components.py:21",
        "the only function that postprocessing.pkl has; the search finds the same components without it",
        signature="(segmentation, labels_or_regions, background_label=)",
        digest="2a2ba36b4310",
    ),
    Place(
        "acvl_utils.morphology.morphology_helper:generic_filter_components",
        "acvl_utils/morphology/morphology_helper.py:74",
        "components by skimage's label, kept by their sizes",
        digest="b001743dcb33",
    ),
    Place(
        f"{FILES}:save_pickle",
        "batchgenerators/utilities/file_and_folder_operations.py:97",
        "writes postprocessing.pkl",
        signature="(obj, file, mode=)",
    ),
    Place(
        f"{FILES}:save_json",
        "batchgenerators/utilities/file_and_folder_operations.py:108",
        "writes postprocessing.json",
        signature="(obj, file, indent=, sort_keys=)",
    ),
    # Variables that nnU-Net reads.
    Place(
        "nnunetv2.configuration:",
        "configuration.py:1",
        "nnUNet_def_n_proc, read when it is imported",
        names=("nnUNet_def_n_proc", "default_num_processes"),
    ),
    Place(
        "nnunetv2.utilities.default_n_proc_DA:get_allowed_n_proc_DA",
        "utilities/default_n_proc_DA.py:5",
        "nnUNet_n_proc_DA",
        signature="()",
        names=("nnUNet_n_proc_DA",),
    ),
    # Modules whose functions the processes of pools carry out, imported ahead by the pools' server.
    Place(
        "nnunetv2.inference.export_prediction:export_prediction_from_logits",
        "inference/export_prediction.py:74",
        "carried out in a pool",
        signature=(
            "(predicted_array_or_file, properties_dict, configuration_manager, plans_manager, "
            "dataset_json_dict_or_file, output_file_truncated, save_probabilities=, num_threads_torch=)"
        ),
    ),
    Place(
        "nnunetv2.inference.data_iterators:preprocess_fromfiles_save_to_queue",
        "inference/data_iterators.py:17",
        "carried out in a pool, for one case at a time; puts it into the queue that it gets, before it returns",
        signature=(
            "(list_of_lists, list_of_segs_from_prev_stage_files, output_filenames_truncated, plans_manager, "
            "dataset_json, configuration_manager, target_queue, done_event, abort_event, verbose=)"
        ),
        digest="74976ec124b4",
    ),
    Place(
        "nnunetv2.utilities.file_path_utilities:check_workers_alive_and_busy",
        "utilities/file_path_utilities.py:94",
        "raises where a process of the pool is gone",
        digest="07a079c91c7e",
    ),
)

PLACES = {place.target: place for place in (*REPLACED, *BUILT_ON)}


def replace(target: str, make: Callable[[Any], Any]) -> None:
    """Replace the target by what `make` makes of the original, until this process ends."""
    owner, name = _owner_of(target)
    setattr(owner, name, make(getattr(owner, name)))


@contextmanager
def replaced(target: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """As `replace`, but only while this context is active."""
    owner, name = _owner_of(target)
    original = vars(owner)[name]
    setattr(owner, name, make(getattr(owner, name)))
    try:
        yield
    finally:
        setattr(owner, name, original)


def called_by(around: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """For `replace` and `replaced`: let `around` carry out the call; it gets the original and the arguments."""
    return lambda original: lambda *args, **kwargs: around(original, *args, **kwargs)


def replace_everywhere(target: str, make: Callable[[Any], Any]) -> None:
    """As `replace`, also under the names that other modules have imported it by."""
    owner, name = _owner_of(target)
    original = getattr(owner, name)
    ours = make(original)
    for module in list(sys.modules.values()):
        if vars(module).get(name) is original:
            setattr(module, name, ours)


def replace_on(instance: Any, target: str, around: Callable[..., Any]) -> None:
    """Let `around` carry out a method of one object; it gets the method and the arguments.

    The class stays as it is, so any trainer class works and keeps its name in checkpoints.
    """
    name = _listed(target).rpartition(".")[2]
    method = getattr(instance, name)
    setattr(instance, name, lambda *args, **kwargs: around(method, *args, **kwargs))


@contextmanager
def replaced_on(instance: Any, target: str, around: Callable[..., Any]) -> Iterator[None]:
    """As `replace_on`, but only while this context is active."""
    name = _listed(target).rpartition(".")[2]
    before = vars(instance).get(name)
    replace_on(instance, target, around)
    try:
        yield
    finally:
        if before is None:
            delattr(instance, name)
        else:
            setattr(instance, name, before)


def write(instance: Any, target: str, value: Any) -> None:
    """Set an attribute of an object of nnU-Net. The table must have it among the names of the object's class."""
    owner, _, name = target.rpartition(".")
    if name not in PLACES[owner].names:
        raise KeyError(target)
    setattr(instance, name, value)


def differences() -> list[str]:
    """How the installed nnU-Net differs from this table, in its order; empty for the release of the table."""
    return [difference for place in PLACES.values() for difference in _differences(place)]


def _differences(place: Place) -> Iterator[str]:
    found = found_now(place)
    if found is None and place.on_main:
        return
    if found is None:
        yield f"{place.target} is not there any more; we rely on: {place.relies_on}"
        return
    if place.signature != found.signature:
        yield (
            f"{place.target} takes {found.signature or 'nothing known'} instead of {place.signature or 'anything'}; "
            f"we rely on: {place.relies_on}"
        )
    if missing := [name for name in place.names if name not in found.names]:
        yield f"{place.target} has no {', '.join(missing)} any more; we rely on: {place.relies_on}"
    if place.digest != found.digest:
        yield f"{place.target} has changed inside ({found.source}); we rely on: {place.relies_on}"


def found_now(place: Place) -> Place | None:
    """The row for the installed package; None if the name does not exist."""
    try:
        module, _, name = place.target.partition(":")
        thing = functools.reduce(getattr, name.split(".") if name else (), importlib.import_module(module))
    except (ImportError, AttributeError):
        return None
    text, source = _source_of(thing)
    return Place(
        target=place.target,
        source=source,
        relies_on=place.relies_on,
        signature=_signature_of(thing) if place.signature else "",
        digest=hashlib.sha256(textwrap.dedent(text).encode()).hexdigest()[:12] if place.digest else "",
        names=tuple(name for name in place.names if name in text),
    )


def _source_of(thing: Any) -> tuple[str, str]:
    try:
        lines, first = inspect.getsourcelines(thing)
        file = inspect.getsourcefile(thing) or ""
    except (TypeError, OSError):  # a value, or a compiled function
        return "", ""
    _, installed, inside = file.rpartition("/site-packages/")
    if not installed:  # Python's own, whose lines differ from release to release
        return "".join(lines), "Python's " + "/".join(file.split("/")[-2:])
    return "".join(lines), f"{inside.removeprefix('nnunetv2/')}:{max(first, 1)}"


def _signature_of(thing: Any) -> str:
    """The parameters in a form of our own: Python's text for annotations depends on its version."""
    stars: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    parameters = inspect.signature(thing).parameters.values()
    words = [
        stars.get(one.kind, "") + one.name + ("" if one.default is inspect.Parameter.empty else "=")
        for one in parameters
    ]
    return f"({', '.join(words)})"


def _listed(target: str) -> str:
    return PLACES[target].target


def _owner_of(target: str) -> tuple[Any, str]:
    """The module or class that has the name, and the name inside it."""
    module, _, path = _listed(target).partition(":")
    *way, name = path.split(".")
    owner: Any = functools.reduce(getattr, way, importlib.import_module(module))
    return owner, name


if __name__ == "__main__":
    for place in PLACES.values():
        if told := list(_differences(place)):
            print(*told, found_now(place), sep="\n  ")
