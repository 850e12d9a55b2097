"""The one prompt builder: demonstrations, sampling, evaluation and training share it.

A prompt is a prefix and a suffix (docs/architecture.md, contract 2). The prefix holds what stays
the same in an episode (role, task, retrieved skills, answer format); the suffix what is the
step's own (history, observation, admissible actions). They are rendered and tokenised
separately and joined as ids.

Two departures from the templates of the released code: skills stand in the prompt
from the first step on (skill_retrieval.first_step), and SFT and RL read the same text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from skillrl.envs.base import AnswerForm
from skillrl.errors import SkillRLError
from skillrl.types import Skill

_DENSE = 16
"""Characters per token that a text is never expected to have on average (English has 4)."""

_SHORT = 4096
"""Characters up to which every text is tokenised, however small the budget."""


@dataclasses.dataclass(frozen=True)
class PromptConfig:
    """How much of the past a prompt shows.

    Attributes:
      history_length: recent steps shown with observation and action.
      action_history: earlier steps shown by their action alone: each action once, where it
        was last used, and apart from them those that failed since anything changed. The
        admissible actions that are among them are listed after the others, in the same
        order: who takes the first that serves tries the new before the old and never goes
        round in a small circle.
      max_prompt_length: tokens of prefix and suffix together.
      max_observation_tokens: longer observations lose their middle.
    """

    history_length: int = 2
    action_history: int = 0
    max_prompt_length: int = 6000
    max_observation_tokens: int = 2048


@dataclasses.dataclass(frozen=True)
class HistoryStep:
    """One earlier step as the prompt remembers it."""

    observation: str
    action: str
    failed: bool = False
    """The action was invalid, so nothing changed."""


def render_prefix(
    role: str, goal: str, skills: Sequence[Skill], instruction: str = AnswerForm().instruction
) -> tuple[str, str]:
    """Returns the system text and the beginning of the user turn, which ends with `instruction`.

    Args:
      role: the sentence that tells the policy what it is.
      goal: the task.
      skills: what stands in the shared part of the prompt.
      instruction: how to answer.
    """
    lines = [f"Task: {goal}" if goal.endswith("?") else f"Task: {goal.rstrip('.')}."]
    lines += _skill_lines(skills)
    lines.append(instruction)
    return role, "\n".join(lines) + "\n"


def render_skills(skills: Sequence[Skill]) -> str:
    """Returns headed lists of skills, a line each, as they stand in a prompt; "" without any."""
    return "".join(f"{line}\n" for line in _skill_lines(skills))


def count_skill_tokens(skills: Sequence[Skill], *, encode: Callable[[str], Sequence[int]]) -> int:
    """Counts the tokens that these skills and their headings take in a prompt."""
    return len(encode(render_skills(skills)))


def _skill_lines(skills: Sequence[Skill]) -> list[str]:
    lines: list[str] = []
    general = [s for s in skills if s.kind == "skill" and s.category == "general"]
    specific = [s for s in skills if s.kind == "skill" and s.category != "general"]
    mistakes = [s for s in skills if s.kind == "mistake"]
    for heading, chosen in (
        ("General skills:", general),
        ("Skills for this task:", specific),
        ("Mistakes to avoid:", mistakes),
    ):
        if chosen:
            lines.append(heading)
            lines += [_bullet(skill) for skill in chosen]
    return lines


def _bullet(skill: Skill) -> str:
    principle = skill.principle.rstrip(".")
    when = skill.when_to_apply.rstrip(".")
    return f"- {skill.title}: {principle}." + (f" When: {when}." if when else "")


def render_suffix(
    step: int,
    observation: str,
    *,
    admissible: Sequence[str],
    past: Sequence[HistoryStep],
    config: PromptConfig,
) -> str:
    """Writes the step's own part of the user turn.

    Args:
      step: number of this step, from 1.
      observation: what the agent sees now.
      admissible: actions on offer.
      past: all earlier steps of the episode, oldest first.
      config: how much of it to show.
    """
    recent = past[max(0, len(past) - config.history_length) :]
    earlier = past[: len(past) - len(recent)]
    earlier = earlier[max(0, len(earlier) - config.action_history) :]
    lines = []
    if config.action_history:
        lines += _without_repeats(earlier, stuck=all(p.failed for p in recent))
    first = step - len(recent)
    lines += [
        f"[Observation {first + i}: '{p.observation}', Action {first + i}: '{p.action}']"
        for i, p in enumerate(recent)
    ]
    lines.append(f"Observation {step}: {observation}")
    done = [p.action for p in earlier if not p.failed] if config.action_history else []
    age = {action: i for i, action in enumerate(done)}
    tried = sorted((a for a in admissible if a in age), key=age.__getitem__)
    for heading, actions in (
        ("Admissible actions:", [a for a in admissible if a not in age]),
        ("Admissible actions tried before, the last one last:", tried),
    ):
        lines += [heading, *actions] if actions else []
    return "\n".join(lines)


def _without_repeats(past: Sequence[HistoryStep], *, stuck: bool) -> list[str]:
    """Lists actions alone; the last failures too if nothing has changed since (`stuck`).

    Whoever tries again what just failed sees the same text again: a policy that is stuck
    is not in a state that grows ever stranger to it, and what it has learned about one
    failure holds for the tenth.
    """
    worked = max((i + 1 for i, p in enumerate(past) if not p.failed), default=0)
    done = dict.fromkeys(p.action for p in reversed(past[:worked]) if not p.failed)
    failed = dict.fromkeys(p.action for p in reversed(past[worked:]) if p.action)
    lines = ["Done:", *reversed(done)] if done else []
    return lines + (["Not possible now:", *reversed(failed)] if failed and stuck else [])


def fit_suffix(
    step: int,
    observation: str,
    *,
    admissible: Sequence[str],
    past: Sequence[HistoryStep],
    config: PromptConfig,
    encode: Callable[[str], Sequence[int]],
    budget: int,
    bucket: bool = False,
) -> tuple[Sequence[int], str]:
    """Fits the suffix into `budget`; returns its token ids and its text.

    A prompt over the limit loses its oldest history first, then the middle of the
    observation; never the task, the skills or the admissible actions.

    Args:
      step: number of this step, from 1.
      observation: what the agent sees now.
      admissible: actions on offer.
      past: all earlier steps of the episode, oldest first.
      config: how much of it to show.
      encode: text to token ids.
      budget: tokens that may be used.
      bucket: the budget is the longest of ``rollout.suffix_buckets``, rather than what the
        prefix leaves of ``rl.max_prompt_length``; for the error alone.

    Raises:
      SkillRLError: even an empty history and observation do not fit.
    """
    past = list(past[max(0, len(past) - config.history_length - config.action_history) :])
    for at in range(max(0, len(past) - config.history_length), len(past)):  # those that are shown
        seen = _clip(past[at].observation, config, encode)
        past[at] = dataclasses.replace(past[at], observation=seen)
    observation = _clip(observation, config, encode)
    text = render_suffix(step, observation, admissible=admissible, past=past, config=config)
    ids = _encode_if_short(text, encode, budget)
    while _over(ids, budget) and past:
        past = past[1:]
        text = render_suffix(step, observation, admissible=admissible, past=past, config=config)
        ids = _encode_if_short(text, encode, budget)
    cuts = _cuts(observation)
    while _over(ids, budget) and (clipped := next(cuts, None)) is not None:
        text = render_suffix(step, clipped, admissible=admissible, past=past, config=config)
        ids = _encode_if_short(text, encode, budget)
    fitting, count = (ids, "") if not _over(ids, budget) else encode_within(text, encode, budget)
    if fitting is None:
        if bucket:
            raise SkillRLError(
                f"a prompt needs {count} tokens after its prefix, but the longest of "
                f"rollout.suffix_buckets is {budget}: {len(admissible)} admissible actions alone "
                "are too long for it. Add a longer one, or leave the list empty."
            )
        raise SkillRLError(
            f"a prompt needs {count} tokens after its prefix, but that leaves only {budget} of "
            f"rl.max_prompt_length ({config.max_prompt_length}): task, skills and "
            f"{len(admissible)} admissible actions alone are too long. Raise it, or lower "
            "skill_retrieval.top_k / general_top_k."
        )
    return fitting, text


def encode_within(
    text: str, encode: Callable[[str], Sequence[int]], budget: int
) -> tuple[Sequence[int] | None, str]:
    """Returns token ids of `text`, or None above `budget`; and their number, in words.

    Of a text that is far too long only the beginning is tokenised.
    """
    most = _readable(budget)
    if len(text) > most and (least := len(encode(text[:most]))) > budget:
        return None, f"more than {least}"
    ids = encode(text)
    return (ids if len(ids) <= budget else None), str(len(ids))


def _encode_if_short(
    text: str, encode: Callable[[str], Sequence[int]], budget: int
) -> Sequence[int] | None:
    """Encodes `text`; returns None, and tokenises nothing, where it is far over `budget`.

    Far over is a text of more than `_DENSE` characters for each token of the budget. To
    shorten a text of any length so costs no more than to shorten one `_DENSE` times too long.
    """
    return encode(text) if len(text) <= _readable(budget) else None


def _readable(budget: int) -> int:
    return max(_SHORT, _DENSE * budget)


def _over(ids: Sequence[int] | None, budget: int) -> bool:
    return ids is None or len(ids) > budget


def cut_middle(words: list[str], keep: int) -> list[str]:
    """Keeps `keep` of the words from both ends, with ``...`` where the middle was."""
    if len(words) <= keep:
        return words
    head = (keep + 1) // 2
    tail = keep // 2
    return [*words[:head], "...", *(words[len(words) - tail :] if tail else [])]


def _clip(text: str, config: PromptConfig, encode: Callable[[str], Sequence[int]]) -> str:
    limit = config.max_observation_tokens
    if len(text.encode("utf-8", "surrogatepass")) <= limit:  # a token is at least one byte
        return text
    cuts = _cuts(text)
    clipped = text
    while _over(_encode_if_short(clipped, encode, limit), limit):
        shorter = next(cuts, None)
        if shorter is None:
            break
        clipped = shorter
    return clipped


def _cuts(text: str) -> Iterator[str]:
    """Yields `text` with ever less of its middle, a quarter gone each time; at last ``...``.

    Whole words are cut first; then characters, since a single word may be long (an
    address, a language without spaces).
    """
    words = text.split(" ")
    keep = len(words) * 3 // 4
    shorter = text
    while keep > 0:
        shorter = " ".join(cut_middle(words, keep))
        yield shorter
        keep = keep * 3 // 4
    keep = len(shorter) * 3 // 4
    while keep > 0:
        head, tail = (keep + 1) // 2, keep // 2
        yield text if len(text) <= keep else f"{text[:head]}...{text[len(text) - tail :]}"
        keep = keep * 3 // 4
    yield "..."
