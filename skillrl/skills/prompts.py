"""Asks the teacher: the prompts of all questions. Nothing here knows a particular environment.

Each builder returns a chat. The trajectories stand in it as `render` writes them; the
existing skills one per line as ``[id] (category) title: principle``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from skillrl.skills.render import render_all, render_trajectory
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


def success_patterns(category: str, wins: Sequence[Trajectory], *, count: int) -> list[Message]:
    """Asks for strategic patterns of one category's successes (s+, equation 2)."""
    return _chat(
        f"All recordings below succeeded at tasks of the category {category!r}. Find the decision "
        "points, why the actions there were right, and the pattern that transfers. Write at most "
        f"{count} skills: the procedure, where to look, what must be done before what.",
        [_SKILL],
        render_all(wins),
    )


def failure_lessons(category: str, losses: Sequence[Trajectory], *, count: int) -> list[Message]:
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
        render_all(losses),
    )


def general_skills(mixed: Sequence[Trajectory], *, count: int) -> list[Message]:
    """Asks for general skills from all categories (S_g)."""
    return _chat(
        "The recordings below come from all categories of tasks, successes and failures. Write at "
        f"most {count} general skills that help in every category: how to explore, how to keep "
        "track of what was done, how to follow the goal, how to choose valid actions.",
        [_SKILL],
        render_all(mixed),
    )


def common_mistakes(losses: Sequence[Trajectory], *, count: int) -> list[Message]:
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
        render_all(losses),
    )


def evolution(
    failures: Sequence[Trajectory],
    pairs: Mapping[str, Trajectory],
    existing: Iterable[Skill],
    *,
    rates: Mapping[str, float],
    categories: Sequence[str],
    count: int,
) -> list[Message]:
    """Asks for new skills and refinements for failing categories (paper 3.3).

    Args:
      failures: failed episodes of these categories.
      pairs: id of a failure -> a success at the same task.
      existing: skills that were in force.
      rates: failing category -> share of episodes won.
      categories: those that a new skill may name.
      count: most entries in the answer.
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
    }
    blocks = []
    for failure in failures:
        blocks.append(render_trajectory(failure))
        if failure.id in pairs:
            blocks.append("The same task, done right:\n" + render_trajectory(pairs[failure.id]))
    shown = ", ".join(f"{name} {rate:.0%}" for name, rate in rates.items())
    return _chat(
        "The agent had the existing skills below and still failed too often in these categories "
        f"(success now: {shown}). Find the failure patterns that the skills do not cover, and the "
        f"skills that do not help as they are. Give at most {count} entries in all, additions and "
        "refinements together, the most useful first; give none where nothing new can be said.",
        form,
        "Existing skills:\n" + "\n".join(map(_listed, existing)) + "\n\n" + "\n\n".join(blocks),
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
