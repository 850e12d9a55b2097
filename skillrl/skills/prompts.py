"""What the teacher is asked. Nothing here knows a particular environment.

Each builder returns a chat. The trajectories stand in it as `render` writes them; the
existing skills one per line as ``[id] (category) title: principle``, then how often an episode with
it was won, and for evolution what it is measured to be worth. ``longest`` shortens observations.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from skillrl.skills.render import render_all, render_trajectory
from skillrl.skills.worth import NOTHING_MEASURED, Estimated, told
from skillrl.teacher.base import Message
from skillrl.types import Skill, Trajectory

_ROLE = (
    "You study recordings of an agent that acts in a text environment, and you write advice that "
    "makes it succeed in tasks it has not seen. Base everything on the recordings. Write short, "
    "concrete, transferable advice: kinds of things, never numbers of instances or task ids."
)

_SKILL = {
    "title": "name of the skill, at most 6 words",
    "principle": "what to do, one or two sentences",
    "when_to_apply": "the situation it is for",
    "sources": ["ids of the trajectories that show it"],
}


def success_patterns(
    category: str, wins: Sequence[Trajectory], *, count: int, longest: int | None = None
) -> list[Message]:
    """Asks for strategic patterns of one category's successes (s+, equation 2)."""
    return _chat(
        f"All recordings below succeeded at tasks of the category {category!r}. Find the decision "
        "points, why the actions there were right, and the pattern that transfers. Write at most "
        f"{count} skills: the procedure, where to look, what must be done before what.",
        [_SKILL],
        render_all(wins, longest=longest),
    )


def failure_lessons(
    category: str, losses: Sequence[Trajectory], *, count: int, longest: int | None = None
) -> list[Message]:
    """Asks for lessons of one category's failures in the paper's four items (s-, equation 3)."""
    lesson = {
        "where_it_failed": "the point at which success was lost",
        "what_was_wrong": "the wrong reasoning or action",
        "what_to_do_instead": "what should have been done there",
        "title": "name of the mistake, at most 6 words",
        "principle": "the rule that prevents it, one or two sentences",
        "when_to_apply": "the situation in which the mistake threatens",
        "sources": ["ids of the trajectories that show it"],
    }
    return _chat(
        f"All recordings below failed at tasks of the category {category!r}. Name each different "
        f"cause once. Write at most {count} lessons, the most frequent cause first.",
        [lesson],
        render_all(losses, longest=longest),
    )


def general_skills(
    mixed: Sequence[Trajectory], *, count: int, longest: int | None = None
) -> list[Message]:
    """Asks for general skills from all categories (S_g)."""
    return _chat(
        "The recordings below come from all categories of tasks, successes and failures. Write at "
        f"most {count} general skills that help in every category: how to explore, how to keep "
        "track of what was done, how to follow the goal, how to choose valid actions.",
        [_SKILL],
        render_all(mixed, longest=longest),
    )


def common_mistakes(
    losses: Sequence[Trajectory], *, count: int, longest: int | None = None
) -> list[Message]:
    """Asks for mistakes that occur whatever the category."""
    return _chat(
        "The recordings below failed, in all categories of tasks. Write at most "
        f"{count} mistakes that are common to several of them.",
        [
            {
                "title": "the mistake, at most 6 words",
                "principle": "how to avoid it",
                "when_to_apply": "why it happens",
                "sources": ["ids of the trajectories that show it"],
            }
        ],
        render_all(losses, longest=longest),
    )


def evolution(
    failures: Sequence[Trajectory],
    pairs: Mapping[str, Trajectory],
    existing: Iterable[Skill],
    *,
    rates: Mapping[str, float],
    categories: Sequence[str],
    count: int,
    utility: Mapping[str, Estimated] = NOTHING_MEASURED,
    longest: int | None = None,
) -> list[Message]:
    """Asks for new skills, refinements, merges and retirements for failing categories (paper 3.3).

    The paper's teacher adds and refines; merging and retiring keep the bank from only growing.

    Args:
      failures: failed episodes of these categories.
      pairs: id of a failure -> a success at the same task.
      existing: skills that were in force.
      rates: failing category -> share of episodes won.
      categories: those that a new skill may name.
      count: most additions and refinements in the answer.
      utility: id of a skill -> what it is measured to be worth; the others are unmeasured.
      longest: most characters of an observation, see `render_trajectory`.
    """
    form = {
        "add": [
            {
                "category": "one of: " + ", ".join(categories),
                "cause": "the failure pattern that no existing skill covers",
                **_SKILL,
            }
        ],
        "refine": [
            {
                "id": "id of an existing skill that did not help",
                "cause": "why it did not help",
                **_SKILL,
            }
        ],
        "merge": [
            {
                "ids": ["ids of two or more existing skills that say much the same"],
                "cause": "what they have in common",
                **_SKILL,
            }
        ],
        "retire": [
            {"id": "id of an existing skill that hurts", "cause": "how the recordings show it"}
        ],
    }
    blocks = []
    for failure in failures:
        blocks.append(render_trajectory(failure, longest=longest))
        if failure.id in pairs:
            right = render_trajectory(pairs[failure.id], longest=longest)
            blocks.append("The same task, done right:\n" + right)
    shown = ", ".join(f"{name} {rate:.0%}" for name, rate in rates.items())
    listed = "\n".join(f"{_listed(skill)} ({told(utility.get(skill.id))})" for skill in existing)
    return _chat(
        "The agent had the existing skills below and still failed too often in these categories "
        f"(success now: {shown}). Find the failure patterns that the skills do not cover, and the "
        f"skills that do not help as they are. Give at most {count} entries in all, additions and "
        "refinements together, the most useful first; give none where nothing new can be said. "
        "Besides, merge skills that say much the same, and retire skills that hurt; leave these "
        "lists empty where there are none. Behind a skill stands by how many percentage points it "
        "changes success, played with and without it, with the ends of the interval: what lies on "
        "both sides of 0 is not known.",
        form,
        f"Existing skills:\n{listed}\n\n" + "\n\n".join(blocks),
    )


def thoughts(trajectory: Trajectory, skills: Sequence[Skill], *, max_words: int) -> list[Message]:
    """Asks for one thought per step of a successful trajectory (cold start, paper 3.3)."""
    count = len(trajectory.steps)
    return _chat(
        f"Write the agent's thoughts for the successful recording below: {count} texts, one for "
        f"each step in order, each at most {max_words} words in the first person. A thought leads "
        "from what is known at that step to that step's action; it uses the skills where they "
        "apply and never knows the future.",
        ["the thought of step 1", "the thought of step 2"],
        "Skills:\n" + "\n".join(map(_listed, skills)) + "\n\n" + render_trajectory(trajectory),
    )


def _listed(skill: Skill) -> str:
    used = f" (won {skill.use.wins} of {skill.use.episodes})" if skill.use.episodes else ""
    return f"[{skill.id}] ({skill.category}) {skill.title}: {skill.principle}{used}"


def _chat(instruction: str, form: object, material: str) -> list[Message]:
    example = json.dumps(form, ensure_ascii=False, indent=1)
    return [
        {"role": "system", "content": _ROLE},
        {
            "role": "user",
            "content": f"{instruction}\n\nAnswer with JSON alone, in this form:\n{example}\n\n"
            f"{material}",
        },
    ]
