"""What the forkserver of the pools imports: the modules with the functions that nnU-Net's pools carry out."""

import os

import nnunetv2.evaluation.evaluate_predictions
import nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor
import nnunetv2.experiment_planning.verify_dataset_integrity
import nnunetv2.inference.data_iterators
import nnunetv2.inference.export_prediction
import nnunetv2.preprocessing.preprocessors.default_preprocessor  # noqa: F401
import numpy

from .orphans import end_with_parent
from .safe_reading import judge_what_nnunet_reads

end_with_parent()

# Files are checked in a pool's process as in the stage's own.
judge_what_nnunet_reads()

# Otherwise all processes of one forkserver would draw the same random numbers.
os.register_at_fork(after_in_child=numpy.random.seed)
