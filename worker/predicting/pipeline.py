"""Processes that have imported everything already prepare and export cases while the network works on another one.

nnU-Net starts each of these processes anew, and each imports for seconds (nnunetv2 2.8.1,
inference/data_iterators.py:70 and predict_from_raw_data.py:371). What is done to a case is nnU-Net's own, function by
function; only who does it, and when, is decided here.
"""

import multiprocessing
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from .. import nnunet_seam
from ..nnunet_seam import PREDICTOR

# nnU-Net lets as many cases wait for a process that exports them (predict_from_raw_data.py:393).
WAITING = 2


def work_side_by_side(predictor: Any) -> None:
    """Let the processes of pools prepare and export the cases of a predictor of nnU-Net's.

    Whoever wants each case's name and logits replaces its `predict_from_data_iterator` and
    `predict_logits_from_preprocessed_data` after that; both are called as nnU-Net calls them.
    """
    pipeline = Pipeline(predictor)
    of_files = f"{PREDICTOR}._internal_get_data_iterator_from_lists_of_filenames"
    nnunet_seam.replace_on(predictor, of_files, pipeline.prepare)
    nnunet_seam.replace_on(predictor, f"{PREDICTOR}.predict_from_data_iterator", pipeline.predict)


class Pipeline:
    """The way of cases through one predictor: prepared, predicted, exported; several of them at a time."""

    def __init__(self, predictor: Any) -> None:
        self._predictor = predictor

    def prepare(
        self,
        _method: Callable[..., Any],
        inputs: Sequence[Sequence[str]],
        previous: Sequence[str | None],
        outputs: Sequence[str],
        processes: int,
    ) -> Iterator[dict[str, Any]]:
        """Cases that are ready for the network, in their order; each process is one case ahead."""
        plans = self._predictor.plans_manager
        how = (plans, self._predictor.dataset_json, self._predictor.configuration_manager)
        asked = iter([(*case, *how) for case in zip(inputs, previous, outputs, strict=True)])
        with _pool(min(processes, len(inputs))) as pool:
            ahead = deque(pool.apply_async(prepared, case) for case in islice(asked, processes))
            while ahead:
                ready = ahead.popleft().get()
                ahead.extend(pool.apply_async(prepared, case) for case in islice(asked, 1))
                yield ready

    def predict(
        self, _method: Callable[..., Any], cases: Iterable[dict[str, Any]], save_probabilities: bool, processes: int
    ) -> None:
        """Predict each case and hand its logits to a process that writes its files. Ends when they are there."""
        import torch

        written: deque[Any] = deque()
        with _pool(processes) as pool:
            try:
                for case in cases:
                    if len(written) >= processes + WAITING:
                        written.popleft().get()
                    logits = self._predictor.predict_logits_from_preprocessed_data(torch.from_numpy(case["data"]))
                    written.append(self._export(pool, case, logits, save_probabilities))
            finally:  # what is predicted is written, also when a later case cannot be
                pool.close()
                pool.join()
        for one in written:
            one.get()

    def _export(self, pool: Any, case: dict[str, Any], logits: Any, save_probabilities: bool) -> Any:
        from nnunetv2.inference.export_prediction import export_prediction_from_logits

        how = (self._predictor.configuration_manager, self._predictor.plans_manager, self._predictor.dataset_json)
        # As numpy's, because nnU-Net found that tensors on their way to another process can end in memory errors.
        what = (logits.cpu().detach().numpy(), case["data_properties"], *how, case["ofile"], save_probabilities)
        return pool.apply_async(export_prediction_from_logits, what)


def prepared(
    files: Sequence[str], previous: str | None, output: str, plans: Any, dataset: dict[str, Any], configuration: Any
) -> dict[str, Any]:
    """One case as nnU-Net's own worker prepares it, in a process of a pool; its data (channels, x, y, z) as numpy's."""
    from nnunetv2.inference.data_iterators import preprocess_fromfiles_save_to_queue

    made: queue.Queue[dict[str, Any]] = queue.Queue()
    of_one = ([files], [previous], [output], plans, dataset, configuration)
    preprocess_fromfiles_save_to_queue(*of_one, made, threading.Event(), threading.Event())
    case = made.get_nowait()
    return {**case, "data": case["data"].numpy()}


def _pool(processes: int) -> Any:
    return multiprocessing.get_context("spawn").Pool(processes)
