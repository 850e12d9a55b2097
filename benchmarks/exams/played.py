"""Examinations of planted skills that a policy plays."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from benchmarks.exams.planted import PLANTED
from benchmarks.exams.simulated import retired_by_worth
from skillrl.config import presets
from skillrl.config.settings import Config
from skillrl.envs import make_suite
from skillrl.models.policy import Model, load_params
from skillrl.models.transformer import Params
from skillrl.phases.build import make_player, make_retriever, open_mesh, open_model, publish
from skillrl.phases.examine import examine
from skillrl.skills.utility import describe, estimates, verdicts


def run(env: str, policy: str, seed: int, *, events: int, episodes: int) -> dict[str, Any]:
    """Examines the planted bank of an environment at several events.

    Args:
      env: one of `PLANTED`.
      policy: directory or asset; "" is that of the mock run.
      seed: of the draws and of the order of tasks.
      events: how many examinations there are.
      episodes: most of each.

    Returns:
      What was retired, by worth and by id, and the estimates of the skills that are left, as plain
      JSON values.
    """
    config, model, params = _policy(env, policy)
    truth, suite = PLANTED[env](), make_suite(env, config.env)
    retriever = make_retriever(config, model)
    player = make_player(config, suite, model=model, retriever=retriever, seed=seed)
    publish(config, player, params=params, version=0)
    bank, retired, played = truth.bank, {}, 0
    for event in range(1, events + 1):
        bank, report = examine(
            player,
            bank,
            suite.tasks("train"),
            episodes=episodes,
            seed=seed,
            iteration=event,
            temperature=1.0,
        )
        played += report.episodes
        going = verdicts(bank)
        retired |= {verdict.target: verdict.reason for verdict in going}
        bank = bank.apply(going, step=event) if going else bank
    return {
        "seed": seed,
        "episodes": played,
        "worth": dict(truth.worth),
        "retired": retired_by_worth(truth, retired),
        "reasons": retired,
        "found": {
            name: {**dataclasses.asdict(found), "words": describe(found)}
            for name, found in estimates(bank).items()
        },
    }


@functools.lru_cache(maxsize=1)
def _policy(env: str, policy: str) -> tuple[Config, Model, Params]:
    """Loads the policy; every skill of its category is in a prompt, so that each is examined."""
    shown = ["top_k=12", "general_top_k=12", "mistakes_top_k=12", "similarity_threshold=-1"]
    overrides = [f"skill_retrieval.{setting}" for setting in shown]
    if policy:
        overrides.append(f"model.policy_path={policy}")
    config = presets.resolve(env, mock=True, overrides=overrides).config
    model = open_model(config, open_mesh(config))
    return config, model, load_params(model, dtype=config.model.param_dtype)
