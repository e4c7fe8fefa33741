"""What the server of the pools imports: the modules whose functions nnU-Net's pools carry out."""

import os

import nnunetv2.evaluation.evaluate_predictions
import nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor
import nnunetv2.experiment_planning.verify_dataset_integrity
import nnunetv2.inference.export_prediction
import nnunetv2.preprocessing.preprocessors.default_preprocessor  # noqa: F401
import numpy

from .judged import judge_what_nnunet_reads
from .orphans import end_with_parent

end_with_parent()

# What a process of a pool reads is judged as in the stage's own.
judge_what_nnunet_reads()

# Processes of one server would else draw the same random numbers.
os.register_at_fork(after_in_child=numpy.random.seed)
