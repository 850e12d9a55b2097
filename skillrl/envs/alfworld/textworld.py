"""Plays the games of tasks in the real engine: alfworld 0.4.2 on TextWorld 1.7.0.

It is not thread-safe, keeps its state in globals and prints, so each backend has a process of
its own (`textworld_worker`), one game at a time. The process is used again by later episodes
and ends with `TextworldBackend.close`, or by itself when this process is gone. Nothing of
TextWorld is imported here.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
from typing import Any

from skillrl.envs.alfworld.engine import GameReply
from skillrl.envs.alfworld.generate import make_game
from skillrl.envs.alfworld.layout import Spec
from skillrl.envs.alfworld.native import game_of
from skillrl.errors import EnvironmentLost, SkillRLError
from skillrl.types import Task

PATIENCE = 300.0
"""Seconds that the engine may take for one answer; the largest kitchens load in about three."""

_REMEDY = (
    'Install the extra: pip install "skillrl[alfworld]" (from a checkout: pip install -e '
    '".[alfworld]"; it compiles for some two minutes), or use env.alfworld.engine=native, which '
    "gives the same texts."
)
# Only the package is taken from this process's path: the rest is found as in any new process.
_MAIN = """
import sys
sys.path.insert(0, sys.argv[1])
import skillrl
del sys.path[0]
from skillrl.envs.alfworld.textworld_worker import main
main(sys.argv[2])
"""


class WorkerError(EnvironmentLost):
    """The real engine failed or its process died: this episode is lost, the run is not."""


def require_textworld() -> None:
    """Raises SkillRLError where the real engine is not installed. Imports nothing of it."""
    missing = [name for name in ("textworld", "alfworld") if not importlib.util.find_spec(name)]
    if missing:
        raise SkillRLError(
            f"env.alfworld.engine=textworld: {' and '.join(missing)} cannot be imported. {_REMEDY}"
        )


class TextworldBackend:
    """Runs a process that plays in the real engine. It starts with the first `reset`.

    Args:
      patience: seconds that one answer may take before the process is ended.
    """

    def __init__(self, patience: float = PATIENCE):
        self._patience = patience
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    def reset(self, task: Task) -> GameReply:
        """Starts the game of `task`, in a new process where the last one was lost.

        Raises:
          SkillRLError: the engine is not installed, or the task has no game.
          WorkerError: the engine cannot load the game, or its process died.
        """
        game = game_of(task)
        if self._process is None:
            self._start()
        path = game if isinstance(game, str) else self._written(game)
        return self._ask({"reset": path}, f"task {task.id}")

    def step(self, command: str) -> GameReply:
        """Plays one command.

        Raises:
          WorkerError: the engine failed, its process died, or no game is running in it.
        """
        if self._process is None:
            raise WorkerError("the process of the real engine is gone; reset starts another")
        return self._ask({"step": command}, f"command {command!r}")

    def close(self) -> None:
        """Ends the process and removes its files."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with contextlib.suppress(OSError):  # a last request that nobody has read
                    pipe.close()
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def _start(self) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="skillrl-textworld-")
        package = str(pathlib.Path(__file__).resolve().parents[3])
        # Importing alfworld makes the directory that this variable names.
        environment = {**os.environ, "ALFWORLD_DATA": self._scratch.name}
        with open(self._errors, "wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _MAIN, package, self._scratch.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
            )
        hello = self._exchange(None, "its start")
        if "missing" in hello:
            self.close()
            raise SkillRLError(
                "env.alfworld.engine=textworld: the real engine cannot be imported "
                f"({hello['missing']}). {_REMEDY}"
            )

    @property
    def _errors(self) -> pathlib.Path:
        """What the process prints."""
        assert self._scratch is not None
        return pathlib.Path(self._scratch.name, "printed.txt")

    def _written(self, spec: Spec) -> str:
        """Returns the file of a generated game, written when it is played first."""
        assert self._scratch is not None
        name = f"{spec.scene}-{spec.room_seed}-{spec.category}-{spec.task_seed}.tw-pddl"
        path = pathlib.Path(self._scratch.name, name)
        if not path.exists():
            path.write_text(json.dumps(make_game(spec)), encoding="utf-8")
        return str(path)

    def _ask(self, request: dict[str, str], what: str) -> GameReply:
        answer = self._exchange(request, what)
        if "error" in answer:
            self.close()  # after an error the engine may answer wrongly in later games
            raise WorkerError(f"the real engine failed at {what}: {answer['error']}")
        return GameReply(
            observation=answer["observation"],
            admissible=tuple(answer["admissible"]),
            reward=answer["reward"],
            done=answer["done"],
            won=answer["won"],
        )

    def _exchange(self, request: dict[str, str] | None, what: str) -> dict[str, Any]:
        """Sends a line, if any, and reads one; a process that dies or hangs is given up."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Event()

        def give_up() -> None:
            late.set()
            process.kill()

        watchdog = threading.Timer(self._patience, give_up)
        watchdog.daemon = True
        watchdog.start()
        try:
            if request is not None:
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
            line = process.stdout.readline()
            return json.loads(line)
        except (OSError, ValueError) as error:
            printed = self._errors.read_text(encoding="utf-8", errors="replace").strip()
            status = "took too long" if late.is_set() else f"ended with status {process.wait()}"
            self.close()
            last = f" Its last words: {printed[-500:]}" if printed else ""
            raise WorkerError(
                f"the process of the real engine {status} at {what}.{last}"
            ) from error
        except BaseException:  # Ctrl-C between request and answer: the next answer would be stale
            self.close()
            raise
        finally:
            watchdog.cancel()
