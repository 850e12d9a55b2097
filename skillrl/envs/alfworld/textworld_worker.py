"""Runs in the process of `textworld.TextworldBackend`: the real engine behind lines of JSON.

Reads ``{"reset": PATH}`` or ``{"step": COMMAND}`` per line from standard input and answers
``{"observation", "admissible", "reward", "done", "won"}`` or ``{"error"}``, one line each; the
first line, before any request, says that it is ready or what is missing. Ends with its input.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from typing import Any


def main(scratch: str) -> None:
    """Serves until the input ends, then removes the directory `scratch`.

    The parent removes it too; but if the input ended without it, the parent is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this
    # The engine prints, and so do its libraries: answers get a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for answer in _answers():
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    shutil.rmtree(scratch, ignore_errors=True)


def _answers() -> Iterator[dict[str, Any]]:
    try:
        game = _Game()
    except Exception as error:  # whatever it is, no game can be played here
        yield {"missing": f"{type(error).__name__}: {error}"}
        return
    yield {"ready": True}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            yield game.reset(request["reset"]) if "reset" in request else game.step(request["step"])
        except Exception as error:  # the parent decides what it means
            yield {"error": f"{type(error).__name__}: {error}"}


class _Game:
    """Plays one game in the engine; names things as `alfworld` does (its `AlfredDemangler`)."""

    def __init__(self) -> None:
        textworld = importlib.import_module("textworld")
        alfred = importlib.import_module("alfworld.agents.environment.alfred_tw_env")
        pddl = importlib.import_module("textworld.envs.pddl.pddl")
        if sys.version_info >= (3, 13):
            _mend_expressions(importlib.import_module("textworld.envs.pddl.textgen"))
        infos = textworld.EnvInfos(won=True, admissible_commands=True)
        self._environment = alfred.AlfredDemangler(pddl.PddlEnv(infos), shuffle=False)
        self._path = ""

    def reset(self, path: str) -> dict[str, Any]:
        if path != self._path:
            self._path = ""
            self._environment.load(path)
            self._path = path
        return _reply(self._environment.reset(), 0, False)

    def step(self, command: str) -> dict[str, Any]:
        state, reward, done = self._environment.step(command)
        return _reply(state, reward, done)


def _reply(state: Any, reward: int, done: bool) -> dict[str, Any]:
    return {
        "observation": state.feedback,
        "admissible": list(state["admissible_commands"]),
        "reward": reward,
        "done": bool(done),
        "won": bool(state["won"]),
    }


def _mend_expressions(textgen: Any) -> None:
    """Makes the grammar's ``{r.name}`` work on Python 3.13, with the same result.

    There ``locals()`` is a copy, so the engine's ``locals().update(...)`` before its ``eval`` no
    longer defines anything (PEP 667; TextWorld pull request 372).
    """

    def derive(self: Any, context: Any = None) -> list[Any]:
        variables = (context or self.context)["variables"]
        return [textgen.TerminalSymbol(eval(self.expression, vars(textgen), dict(variables)))]

    textgen.EvalSymbol.derive = derive
