"""TensorBoard's event files: written without TensorFlow, cut back to where a run resumes."""

from __future__ import annotations

import shutil
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dermssl.core.errors import RunFailed

# One file a folder: TensorBoard reads several in the order of their names, and takes a step that
# is smaller than the one before for a new start.
NAME = "events.out.tfevents.dermssl"


class EventFile:
    """Append summaries to the event file of a folder; a context that closes it.

    Each summary is on disk before the next one is made, so a process that is killed leaves at most
    one that isn't whole.

    Args:
        folder: Path, what TensorBoard calls a run.
        last: int; summaries of an attempt before are kept up to this step and go on after it.
            None: all that is in the folder is removed.

    Raises:
        RunFailed: the file can't be written.

    Example:

    >>> with EventFile("events") as events:
    ...     events.scalar("loss", 0.5, step=1)
    >>> [event.step for event in read("events") if event.HasField("summary")]
    [1]
    """

    def __init__(self, folder: Path | str, last: int | None = None) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        self.path = Path(folder) / NAME
        if last is None:
            shutil.rmtree(folder, ignore_errors=True)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch()
            kept = _parse(self.path.read_bytes(), last)
            self._file = open(self.path, "r+b")  # noqa: SIM115 - `close` does it
            end = self._file.seek(kept[-1][1] if kept else 0)
            self._file.truncate(end)
        except OSError as error:
            raise self._failed(error) from error
        self._records = RecordWriter(self._file)
        if not kept:
            self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def __enter__(self) -> EventFile:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def close(self) -> None:
        """Nothing can be added any more."""
        self._file.close()

    def scalar(self, tag: str, value: float, step: int = 0) -> None:
        """A number."""
        from tensorboard.plugins.scalar import summary_v2

        self._add(summary_v2.scalar_pb(tag, value), step)

    def text(self, tag: str, markdown: str, step: int = 0) -> None:
        """A text in Markdown."""
        from tensorboard.plugins.text import summary_v2

        self._add(summary_v2.text_pb(tag, markdown), step)

    def histogram(self, tag: str, values: np.ndarray, step: int = 0, about: str = "") -> None:
        """How values are distributed, in 30 equal bins; `about` says what they are."""
        from tensorboard.plugins.histogram import summary_v2

        self._add(summary_v2.histogram_pb(tag, values, description=about), step)

    def image(self, tag: str, picture: np.ndarray, step: int = 0, about: str = "") -> None:
        """A picture, uint8 (h, w, 3) RGB; `about` says in Markdown what it shows."""
        import cv2
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.image import metadata
        from tensorboard.util import tensor_util

        png = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()
        height, width = picture.shape[:2]
        content = [str(width).encode(), str(height).encode(), png]
        value = Summary.Value(
            tag=tag, metadata=metadata.create_summary_metadata(None, about),
            tensor=tensor_util.make_tensor_proto(content, dtype=np.object_),
        )  # fmt: skip
        self._add(Summary(value=[value]), step)

    def hparams(self, values: Mapping[str, Any], name: str) -> None:
        """A trial's settings, a row of TensorBoard's HParams; `name` tells it from all others."""
        from tensorboard.plugins.hparams import summary_v2

        self._add(summary_v2.hparams_pb(dict(values), trial_id=name), 0)

    def _add(self, summary, step):
        from tensorboard.compat.proto.event_pb2 import Event

        self._write(Event(wall_time=time.time(), step=step, summary=summary))

    def _write(self, event):
        try:
            self._records.write(event.SerializeToString())
            self._file.flush()
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error):
        return RunFailed(f"{self.path}: can't be written ({error.strerror or error})")


def read(folder: Path | str) -> list[Any]:
    """The events that an `EventFile` wrote into a folder, protobuf messages in their order."""
    return [event for event, _ in _parse((Path(folder) / NAME).read_bytes())]


def _parse(data, last=None):
    """list of (event, where it ends) up to a step, or to what a killed process left unfinished."""
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event

    found, end = [], 0
    while len(data) >= end + 12:  # a length of 8 bytes and its checksum; the event, its checksum
        (length,) = struct.unpack_from("<Q", data, end)
        start, end = end + 12, end + 12 + length + 4
        if not length or end > len(data):
            break
        try:
            event = Event.FromString(data[start : start + length])
        except DecodeError:
            break
        if last is not None and event.step > last:
            break
        found.append((event, end))
    return found
