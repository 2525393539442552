"""TensorBoard's event files, written without TensorFlow's own writer."""

import re
import socket
import time

import numpy as np
import tensorflow as tf
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import tensor_util

_EVENT_FILE = re.compile(r"events\.out\.tfevents\.(\d+)\.")


class EventWriter:
    """Writes one TensorBoard event file.

    The file starts with a session-start event, so that TensorBoard drops
    what an earlier, interrupted session logged from that step on.

    Args:
        folder: where TensorBoard looks.
        first_step: the first step that this session will log.
    """

    def __init__(self, folder, first_step):
        folder.mkdir(parents=True, exist_ok=True)
        self.path = next_event_file(folder, socket.gethostname())
        # A Python file, so that a full disk is an OSError like any other.
        self._file = open(self.path, "xb")
        self._writer = RecordWriter(self._file)
        self._write(event_pb2.Event(file_version="brain.Event:2"))
        self._write(
            event_pb2.Event(
                step=first_step,
                session_log=event_pb2.SessionLog(
                    status=event_pb2.SessionLog.START
                ),
            )
        )

    def scalars(self, step, values):
        """Writes a dict of floats by tag."""
        summary = summary_pb2.Summary()
        for tag, value in values.items():
            summary.MergeFrom(scalar_pb(tag, value))
        self._write(event_pb2.Event(step=step, summary=summary))

    def histogram(self, step, tag, values):
        """Writes how the values of an array are distributed."""
        summary = histogram_pb(tag, values)
        self._write(event_pb2.Event(step=step, summary=summary))

    def image(self, step, tag, drawn):
        """Writes a picture, a `sheet.Drawn`."""
        height, width = (str(side).encode() for side in drawn.pixels.shape[:2])
        content = np.array([width, height, drawn.encode()], dtype=object)
        summary = summary_pb2.Summary()
        summary.value.add(
            tag=tag,
            metadata=image_metadata.create_summary_metadata(
                display_name="", description=""
            ),
            tensor=tensor_util.make_tensor_proto(content, dtype=tf.string),
        )
        self._write(event_pb2.Event(step=step, summary=summary))

    def fileno(self):
        """Returns the descriptor of the file, an int."""
        return self._file.fileno()

    def close(self):
        """Closes the file."""
        self._file.close()

    def _write(self, event):
        event.wall_time = time.time()
        self._writer.write(event.SerializeToString())
        self._file.flush()  # TensorBoard shows it now.


def next_event_file(folder, name):
    """Returns the path of an event file that TensorBoard reads last.

    Args:
        folder: where TensorBoard looks; it must be there.
        name: what the file's name ends with.
    """
    # TensorBoard reads the files of a folder in the order of their names.
    # A clock may have been set back; a name must not go back with it.
    numbers = [
        int(match[1])
        for path in folder.iterdir()
        if (match := _EVENT_FILE.match(path.name))
    ]
    number = max([int(time.time()), *(last + 1 for last in numbers)])
    return event_file(folder, number, name)


def event_file(folder, number, name):
    """Returns the path of the event file of a number."""
    return folder / f"events.out.tfevents.{number:010d}.{name}"
