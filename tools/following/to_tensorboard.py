"""Trainings as TensorBoard's event files: <folder>/<dataset>/<model>/<fold>/<run that began it>.

They are written with tensorboard's own package, without torch.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo
from tensorboard.plugins.text import metadata as text
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from ...files import make_folder
from ...schemas.records import Epoch
from .tracked import End, Training, per_epoch


class TensorBoard:
    """A folder of event files, which TensorBoard shows while they grow."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writers: dict[str, EventFileWriter] = {}
        self._steps: dict[str, int] = {}

    def begin(self, training: Training) -> int:
        """Begin a further event file, and tell everything again: at its start readers drop what earlier files have from
        the same step on. So nothing is there twice, and epochs that were trained again have their last values."""
        place = self.folder / training.folder / training.key.partition("/")[0]
        make_folder(place)
        if (before := self._writers.get(training.key)) is not None:
            before.close()
        self._writers[training.key] = EventFileWriter(str(place))
        self._add(training, Event(step=0, session_log=SessionLog(status=SessionLog.START)))
        self._add(training, Event(step=0, summary=Summary(value=[_table(training), _hyperparameters(training)])))
        return 0

    def epochs(self, training: Training, epochs: Sequence[Epoch]) -> None:
        """Each is a step, counted from 1."""
        for epoch in epochs:
            values = [_scalar(name, value) for name, value in per_epoch(epoch, training).items()]
            self._add(training, Event(step=epoch.epoch + 1, summary=Summary(value=values)))
        self._steps[training.key] = epochs[-1].epoch + 1
        self._writers[training.key].flush()

    def end(self, training: Training, end: End) -> None:
        """The Dice and the picture belong to the last step."""
        values = [_scalar(f"dice/{name}", value) for name, value in end.dice.items()]
        if end.picture is not None:
            image = Summary.Image(encoded_image_string=end.picture, colorspace=3)
            values.append(Summary.Value(tag="worst_case", image=image))
        self._add(training, Event(step=self._steps.get(training.key, 0), summary=Summary(value=values)))
        self._writers[training.key].flush()

    def _add(self, training: Training, event: Event) -> None:
        event.wall_time = time.time()
        self._writers[training.key].add_event(event)


def _scalar(name: str, value: float) -> Summary.Value:
    return Summary.Value(tag=name, simple_value=value)


def _table(training: Training) -> Summary.Value:
    """The parameters, for the page "Text"."""
    lines = ["| parameter | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in _sorted(training))]
    said = TensorProto(dtype=DT_STRING, string_val=["\n".join(lines).encode()])
    return Summary.Value(tag="parameters", tensor=said, metadata=text.create_summary_metadata("parameters", ""))


def _hyperparameters(training: Training) -> Summary.Value:
    """The parameters, for the page "HParams", which compares trainings."""
    begun = SessionStartInfo(group_name=training.key, start_time_secs=time.time())
    for name, value in _sorted(training):
        begun.hparams[name].string_value = value
    content = HParamsPluginData(session_start_info=begun, version=hparams.PLUGIN_DATA_VERSION)
    plugin = SummaryMetadata.PluginData(plugin_name=hparams.PLUGIN_NAME, content=content.SerializeToString())
    return Summary.Value(
        tag=hparams.SESSION_START_INFO_TAG,
        tensor=hparams.NULL_TENSOR,
        metadata=SummaryMetadata(plugin_data=plugin),
    )


def _sorted(training: Training) -> list[tuple[str, str]]:
    return sorted(training.parameters.items())
