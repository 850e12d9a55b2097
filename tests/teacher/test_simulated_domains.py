import ast
import re
from pathlib import Path

import pytest

import skillrl.teacher.simulated
from skillrl import envs
from skillrl.agent.agent import render_response
from skillrl.config.settings import EnvConfig
from skillrl.envs.webshop.customs import WORDS
from skillrl.skills import prompts
from skillrl.teacher.simulated import vocabulary
from skillrl.teacher.simulated.domains import DOMAINS, domain_of
from skillrl.teacher.simulated.generic import ADVICE
from skillrl.types import Step, Trajectory
from tests.skills.builders import UNTREATED, WIN_CLEAN, played
from tests.teacher.recorded import ask, check_sizes, diagnose, episode, evolve, reading, thoughts
from tests.teacher.test_simulated_questions import asked
from tests.teacher.test_simulated_questions import search as searched
from tests.teacher.test_simulated_shopping import SEARCH, shopped

MAZE = "Leave the maze"
WALL = ("go north", "A wall.")


def walked(script, **fields):
    return episode(MAZE, script, category="maze", opening="A maze.", **fields)


@pytest.mark.parametrize(
    ("trajectory", "name"),
    [
        (played(UNTREATED), "household"),
        (played([]), "household"),  # by its goal
        (shopped([SEARCH]), "shopping"),
        (shopped([]), "shopping"),
        (asked([searched("Silver Gate")]), "questions"),
        (walked([WALL, ("take lamp", "You have a lamp.")]), "generic"),
        (walked([]), "generic"),
    ],
)
def test_the_domain_is_that_of_actions_and_goal(trajectory, name):
    assert domain_of([reading(trajectory)]).name == name


def test_most_of_a_request_decides():
    recordings = [reading(t) for t in (walked([WALL]), shopped([SEARCH]), played(WIN_CLEAN))]
    assert domain_of(recordings).name == "household"
    assert domain_of([]).name == "generic"


def test_unknown_tasks_get_the_advice_that_holds_everywhere():
    bumped = walked([WALL] * 4, task="1")
    odd = walked([("fly", "No.")], task="2", invalid=["fly"])
    assert diagnose(bumped) == ["repeated"]
    added = {entry["title"]: entry["sources"] for entry in evolve([bumped, odd])["add"]}
    assert added == {"Try something new": [bumped.id], "Choose valid actions": [odd.id]}
    assert diagnose(walked([])) == ["unfinished"]
    for purpose, chat in {
        "distill_failure": prompts.failure_lessons("maze", [bumped, odd], count=3),
        "distill_general": prompts.general_skills([bumped, odd], count=3),
        "distill_mistakes": prompts.common_mistakes([bumped, odd], count=3),
    }.items():
        assert isinstance(ask(chat, purpose), list)


def test_a_success_at_an_unknown_task_gives_its_order_and_thoughts():
    win = walked([("go east", "A key."), ("take key", "Yes."), ("open door", "Out.")], won=True)
    skills = ask(prompts.success_patterns("maze", [win], count=3), "distill_success")
    assert skills[0]["principle"] == "Do these in order: go, take, open."
    assert thoughts(win)[1] == "Next do this: take key."


def test_vocabularies_do_not_mix():
    assert vocabulary() == vocabulary("alfworld")
    for environment, own, foreign in [
        ("alfworld", "sinkbasin", "passage"),
        ("webshop", "price", "microwave"),
        ("search", "passage", "microwave"),
        ("of one's own", "valid", "passage"),
    ]:
        text = " ".join(vocabulary(environment)).lower()
        assert own in text
        assert foreign not in text
    check_sizes(vocabulary("of one's own"), ADVICE, str)


def test_nothing_but_text_can_be_read():
    """Its modules import nothing of this project but the teacher's own."""
    (folder,) = skillrl.teacher.simulated.__path__
    for path in Path(folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert not name.startswith("skillrl.") or name.startswith("skillrl.teacher."), path


@pytest.mark.parametrize("environment", ["webshop", "search"])
def test_thoughts_agree_with_those_of_the_shipped_experts(environment):
    if environment not in envs.names():
        pytest.skip(f"no {environment} here")
    suite = envs.make_suite(environment, EnvConfig(max_steps=15))
    handle, agreed = suite.make(), 0
    for task in suite.tasks("train")[:24]:
        expert, seen, steps, said, done = suite.expert(task), handle.reset(task), [], [], False
        while not done:
            move = expert.act(seen)
            text = render_response(move.thought, move.action)
            steps.append(
                Step(
                    observation=seen.text,
                    admissible=seen.admissible,
                    suffix_ids=(),
                    response_ids=(),
                    logprobs=(),
                    response=text,
                    action=move.action,
                )
            )
            # No rule told an archive, nor the word under which shops list things: not recalled.
            said.append(re.sub(rf" (?:in [a-z]+|{'|'.join(WORDS)})(?=\.$)", "", move.thought))
            result = handle.step(move.action)
            seen, done = result.observation, result.done
        if result.won:
            agreed += 1
            assert (
                thoughts(Trajectory(task=task, prefix_ids=(), steps=tuple(steps), won=True)) == said
            )
    assert agreed >= 20


def test_every_domain_advises_against_all_its_causes():
    for domain in DOMAINS:
        assert set(domain.general) <= set(domain.advice)
