"""Writes TensorBoard's event files, here and now.

tensorboardX's own writer hands events to a thread: where the disk is full that thread dies
with a traceback, and the run waits for it for ever.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from skillrl.errors import SkillRLError, about_writing


class Events:
    """Writes one event file; every row is on its way to the disk when `add` returns."""

    def __init__(self, directory: Path, *, purge: int | None = None):
        """Begins a file in `directory`.

        Args:
          directory: is created.
          purge: TensorBoard hides what earlier files say of this step and later ones.

        Raises:
          SkillRLError: the disk refused, here or in any method.
        """
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
            # Names have a resolution of one second: two sessions could share a file.
            suffix = f".{time.time_ns()}"
            self._writer = EventsWriter(str(directory / "events"), filename_suffix=suffix)
            if purge is not None:
                start = SessionLog(status=SessionLog.START)
                self._writer.write_event(
                    Event(wall_time=time.time(), step=purge, session_log=start)
                )
            self._writer.flush()
        except OSError as error:
            raise self._refused(error) from error

    def add(self, step: int, numbers: Mapping[str, float]) -> None:
        """Adds one number per name at `step`."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        try:
            for name, number in numbers.items():
                event = Event(wall_time=time.time(), step=step, summary=scalar(name, number))
                self._writer.write_event(event)
            self._writer.flush()
        except OSError as error:
            raise self._refused(error) from error

    def close(self) -> None:
        """Ends the file; rows are there already, so there is nothing left that could fail."""
        try:
            self._writer.close()
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> SkillRLError:
        return about_writing(error)(
            f"{self._directory}: cannot be written ({error.strerror}). Check the permissions and "
            "the free space there, or go without: --set logging.tensorboard=false."
        )
