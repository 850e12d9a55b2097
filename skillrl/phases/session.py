"""Opens a session: one process at work on one run directory, with its settings and display.

Where a run has several processes, each has a session; only the first one's writes and shows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from skillrl.config.settings import Config
from skillrl.envs import Suite, make_suite
from skillrl.io.console import Progress
from skillrl.parallel import background, compile_cache, processes
from skillrl.parallel.devices import find_devices
from skillrl.phases.run_directory import Metrics, OnMetrics, RunDirectory
from skillrl.phases.wall import WallClock

T = TypeVar("T")


class Display:
    """Shows the progress bars of a session; what goes on in a step is in the newest open one."""

    def __init__(self, *, enabled: bool, on_update: Callable[[], None]):
        """Shows nothing yet.

        Args:
          enabled: False shows no bar at all.
          on_update: called at every step of every bar, also of one that is not shown.
        """
        self._enabled, self._on_update = enabled, on_update
        self._bars: list[Progress] = []

    def progress(
        self, phase: str, total: int, *, unit: str, done: int = 0, leave: bool = True
    ) -> Progress:
        """Opens a progress bar, which is a context manager.

        Args:
          phase: what the bar is labelled with.
          total: number of steps.
          unit: what a step is called.
          done: steps that were taken before.
          leave: whether the bar stays on the screen at its end.
        """
        bar = Progress(
            phase,
            total,
            unit=unit,
            done=done,
            enabled=self._enabled,
            on_update=self._on_update,
            leave=leave,
        )
        self._bars.append(bar)
        return bar

    def note(self, doing: str) -> None:
        """Shows what goes on within a step of the newest open bar."""
        while self._bars and self._bars[-1].closed:
            self._bars.pop()
        if self._bars:
            self._bars[-1].note(doing)

    def wait_for(self, doing: str, work: Callable[..., T], *arguments: object) -> T:
        """Computes ``work(*arguments)`` on the device; shows `doing` and hears Ctrl-C meanwhile."""
        return background.wait_for(work, *arguments, beat=lambda: self.note(doing))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Session:
    """Holds what one process at work on one run directory needs.

    Attributes:
      config: the settings.
      run: the run directory, locked for writing unless the session only reads it.
      metrics: numbers on disk.
      suite: tasks and environments.
      seed: the seed of every random draw.
      clock: seconds per phase, over all sessions of the run.
      display: progress bars; each of their steps also notes the time, which a kill then does
        not take.
    """

    config: Config
    run: RunDirectory
    metrics: Metrics
    suite: Suite
    seed: int
    clock: WallClock
    display: Display


@contextmanager
def open_session(
    config: Config, workdir: Path, *, lock: bool = True, on_metrics: OnMetrics | None = None
) -> Iterator[Session]:
    """Opens a session on `workdir`: locks it and records its environment; closes it at the end.

    Args:
      config: the settings; ``config.seed`` is the seed of every draw.
      workdir: the run directory, made if it is not there.
      lock: False for a session that only reads.
      on_metrics: called with each row of metrics as it is written.

    Raises:
      SkillRLError: the directory belongs to another run or another process, JAX finds none of
        the devices that it is told to use, or the environment cannot be made.
    """
    find_devices()  # before anything is created: JAX_PLATFORMS may name what is not here
    compile_cache.enable()
    suite = make_suite(config.env.name, config.env)
    with RunDirectory(workdir, config, lock=lock) as run:
        if lock and processes.is_first():
            run.write_environment()
        clock = WallClock(run.file("wall_seconds.json") if processes.is_first() else None)
        shown = config.logging.progress and processes.is_first()
        display = Display(enabled=shown, on_update=clock.note)
        with Metrics(run, tensorboard=config.logging.tensorboard, on_write=on_metrics) as metrics:
            yield Session(
                config=config,
                run=run,
                metrics=metrics,
                suite=suite,
                seed=config.seed,
                clock=clock,
                display=display,
            )
