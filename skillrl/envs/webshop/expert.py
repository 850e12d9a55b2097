"""Plays as an expert that reads only what an agent reads: goal, pages, admissible actions.

It searches with the words of the goal, opens the first product of the results that fits by
title and price and was not opened before, chooses the options one after the other or goes back
if one is missing, reads the features where the title does not name all that is wanted, and buys.
Where nothing fits, as in shops that say little in titles, it takes what is most similar.

It knows no more than a prompt with `agent.action_history` shows: the newest page and which
actions were done, in which order. So nothing that it read on an earlier page counts, and what it
finds out must leave a trace in its actions: from features that fit it goes back to the product,
from others to the search.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Collection, Sequence

from skillrl.envs.base import Move
from skillrl.errors import SkillRLError
from skillrl.types import Observation

BUY, FEATURES, PREVIOUS, NEXT, START = (
    "click[buy now]",
    "click[features]",
    "click[< prev]",
    "click[next >]",
    "click[back to search]",
)

_PAGE_SIZE = 10
_QUOTED = 6  # most values or words that a thought goes through
_PASSED = 3  # most products that it names before the one it opens
_IN_VAIN = 2  # products that it reads through before it settles for what is like
_PRICE_TAIL = re.compile(r",? and price lower than (\d+(?:\.\d+)?) dollars\.?$")
_OPTIONS = re.compile(r"(.*) with ([^:]+: .*)")
_NEXT_OPTION = re.compile(r", and (?=(?:(?!, and )[^:])+: )")
_RESULTS = re.compile(r"Page (\d+) \(Total results: (\d+)\)")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_CLICK = re.compile(r"click\[(.+)\]")
_ASIN = re.compile(r"(?=[a-z]*\d)[a-z0-9]{10}")
_CHOSEN = re.compile(r"You have clicked (.+)\.")
_MARKUP = re.compile(r"\[(?:clicked )?button_?\]")


@dataclasses.dataclass(frozen=True, slots=True)
class ShoppingGoal:
    """Holds what a synthetic goal sentence asks for.

    Attributes:
      phrase: attributes and kind of product as the sentence has them, without commas.
      options: (name, value) pairs in the order of the sentence.
      below: dollars that the price must not exceed; None without a limit.
    """

    phrase: str
    options: tuple[tuple[str, str], ...] = ()
    below: float | None = None

    @property
    def words(self) -> frozenset[str]:
        """What title and features of a fitting product contain."""
        return words_of(self.phrase)


def parse_goal(sentence: str) -> ShoppingGoal:
    """Reads ``Find me A, B kind with color: red, and size: small, and price lower than ...``.

    Raises:
      SkillRLError: the sentence does not begin with ``Find me`` (people's instructions do not).
    """
    text = sentence.strip().rstrip(".")
    if not text.lower().startswith("find me "):
        raise SkillRLError(
            f"goal {sentence!r}: not a synthetic goal of WebShop ('Find me ...'), so the text-only "
            "expert cannot shop for it. Play this task with a policy."
        )
    text, below = text[len("find me ") :], None
    if match := _PRICE_TAIL.search(text):
        text, below = text[: match.start()], float(match[1])
    options: tuple[tuple[str, str], ...] = ()
    if match := _OPTIONS.fullmatch(text):
        text = match[1]
        pairs = (pair.split(": ", 1) for pair in _NEXT_OPTION.split(match[2]))
        options = tuple((name, value) for name, value in pairs)
    return ShoppingGoal(" ".join(text.replace(",", " ").split()), options, below)


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """Describes a product on a page of results: the click that opens it, and what is said of it."""

    action: str
    title: str
    price: str


def read_results(observation: Observation) -> list[Result]:
    """Returns the products on a page of results, in its order; none on any other page."""
    parts = page_parts(observation.text)
    places = {part.lower(): place for place, part in reversed(list(enumerate(parts)))}
    if not _RESULTS.search(observation.text):
        return []
    found = []
    for action in observation.admissible:
        match = _CLICK.fullmatch(action)
        place = places.get(match[1], len(parts)) if match else len(parts)
        if place + 2 < len(parts) and parts[place + 2].startswith("$"):
            found.append(Result(action, parts[place + 1], parts[place + 2]))
    return found


def page_parts(text: str) -> list[str]:
    """Returns the visible strings of a page in `text` or `text_rich` mode, without markup."""
    parts = re.split(r"\[SEP\]|\n", _MARKUP.sub(" ", text))
    return [part.strip().strip("'\"").strip() for part in parts]


class ShopExpert:
    """Shops for one goal; make a new one for the next episode.

    Args:
      goal_text: a synthetic goal sentence.
      done: actions that were done before, to go on with somebody else's episode; of those
        done several times, only the last counts, as in a prompt.

    Raises:
      SkillRLError: the sentence is not a synthetic one (see `parse_goal`).
    """

    def __init__(self, goal_text: str, done: Sequence[str] = ()):
        self.goal = parse_goal(goal_text)
        self._done = list(dict.fromkeys(reversed(done)))[::-1]  # each once, at its last use
        self._last = ""

    def played(self, action: str) -> None:
        """Says what was done instead of the last move of `act`; "" if nothing was possible.

        A page does not show which options are chosen, so without this the expert takes its own
        moves for done, as the history in a prompt shows those that really were.
        """
        self._last = action

    def act(self, observation: Observation) -> Move:
        """Returns the next move, always an admissible one, given the newest observation."""
        if self._last:
            self._done = [action for action in self._done if action != self._last] + [self._last]
        move = self._move(observation)
        self._last = move.action
        return move

    def _move(self, observation: Observation) -> Move:
        actions = observation.admissible
        if BUY in actions:
            return self._item(observation)
        if match := _RESULTS.search(observation.text):
            return self._results(observation, page=int(match[1]), total=int(match[2]))
        if any(action.startswith("search[") for action in actions) and START not in actions:
            return self._search()
        return self._sub_page(observation)

    def _search(self) -> Move:
        return Move("I search for it.", f"search[{self.goal.phrase}]")

    def _results(self, observation: Observation, *, page: int, total: int) -> Move:
        shown = read_results(observation)
        results = [r for r in shown if self._affordable(r.price)]
        age = {action: number for number, action in enumerate(self._done)}
        new = [r for r in results if r.action not in age]
        for result in new:
            if self.goal.words <= words_of(result.title):
                return Move(self._looked_through(shown, result, "fits"), result.action)
        near = max((self._likeness(r) for r in new), default=0)
        settle = self._settles()
        if near > (0 if settle else len(self.goal.words) // 2):
            likely = next(r for r in new if self._likeness(r) == near)
            verdict = "fits best" if settle else "may fit"
            return Move(self._looked_through(shown, likely, verdict), likely.action)
        if page * _PAGE_SIZE < total and NEXT in observation.admissible:
            return Move("Nothing new fits here.", NEXT)
        enough = 1 if settle else len(self.goal.words)
        again = [r for r in results if self._likeness(r) >= enough]
        if again:
            oldest = min(again, key=lambda r: age[r.action])
            return Move("Nothing new fits, look again.", oldest.action)
        return Move("Nothing fits here.", START)

    def _looked_through(self, shown: Sequence[Result], chosen: Result, verdict: str) -> str:
        """Goes result by result down to the chosen one, with what is wrong with those before."""
        before = shown[: shown.index(chosen)]
        below = "" if self.goal.below is None else f"Below {self.goal.below:.0f}: "
        if len(before) > _PASSED:
            return f"{below}This one {verdict}."
        faults = [f"{_clicked(result.action)} {self._fault(result)}" for result in before]
        return f"{below}{' '.join((*faults, _clicked(chosen.action)))} {verdict}."

    def _fault(self, result: Result) -> str:
        if not self._affordable(result.price):
            return "dear"
        return "seen" if result.action in self._done else "other"

    def _item(self, observation: Observation) -> Move:
        actions, parts = observation.admissible, page_parts(observation.text)
        back = PREVIOUS if PREVIOUS in actions else START
        price = next((part for part in parts if part.startswith("Price:")), "")
        if not self._affordable(price):
            return Move("It costs too much.", back)
        chosen = self._chosen(parts)
        already = self._already(chosen)
        there = [action[6:-1] for action in actions if action.startswith("click[")]
        for name, value in self.goal.options:
            if value not in chosen and (value in there or self._leaves()):
                thought = looked_up(name, value, parts=parts, values_here={*there, *chosen})
                return Move(already + thought, f"click[{value}]" if value in there else back)
        move = self._chosen_all(actions, parts)
        return Move(already + move.thought, move.action)

    def _leaves(self) -> bool:
        """Tells whether it leaves a product that lacks a wanted option."""
        return True

    def _chosen_all(self, actions: Sequence[str], parts: Sequence[str]) -> Move:
        """Decides about a product with nothing left to choose: buys it, or reads its features."""
        if self._features_read(parts):
            return Move("Its features fit, buy it.", BUY)
        said = words_of(" ".join(parts[title_place(parts) :]))
        if self.goal.words <= said or self._settles() or FEATURES not in actions:
            return Move(f"{self._compared(said)} Buy it.", BUY)
        return Move(self._compared(said), FEATURES)

    def _sub_page(self, observation: Observation) -> Move:
        parts, actions = page_parts(observation.text), observation.admissible
        texts = parts[parts.index("< Prev") + 1 :] if "< Prev" in parts else parts
        said = words_of(" ".join(texts))
        if self.goal.words <= said and PREVIOUS in actions:
            return Move(self._compared(said), PREVIOUS)
        if self._done and self._done[-1] != FEATURES and PREVIOUS in actions:
            return Move("These are not the features.", PREVIOUS)
        if START in actions:
            return Move(self._compared(said), START)
        return self._search()

    def _affordable(self, price: str) -> bool:
        """Returns whether a price, or the dearer end of a range of prices, is within the limit."""
        numbers = [float(number) for number in _NUMBER.findall(price)]
        return self.goal.below is None or not numbers or max(numbers) <= self.goal.below

    def _likeness(self, result: Result) -> int:
        return len(self.goal.words & words_of(result.title))

    def _compared(self, said: frozenset[str]) -> str:
        """Goes word by word of the goal down to one that is missing: ``soft edges silk no.``"""
        words = self.goal.phrase.lower().split()
        there = list(itertools.takewhile(lambda word: word in said, words))
        missing = words[len(there) : len(there) + 1]
        if len(there) > _QUOTED:
            return f"It lacks {missing[0]}." if missing else "All fits."
        return f"{' '.join((*there, *missing))} {'no' if missing else 'yes'}."

    def _since_opened(self, parts: Sequence[str]) -> list[str]:
        """Returns what was done on the product of this page: everything after it was opened."""
        opened = [n for n, action in enumerate(self._done) if _opens(action, parts)]
        return self._done[opened[-1] + 1 :] if opened else self._done

    def _features_read(self, parts: Sequence[str]) -> bool:
        """Returns whether features were read and left by < Prev, as only fitting ones are."""
        done = self._since_opened(parts)
        return FEATURES in done and PREVIOUS in done[done.index(FEATURES) :]

    def _settles(self) -> bool:
        """Tells whether a whole search found nothing that fits: the most similar will do.

        So it was if the way back to the search led from results, not from features, or if the
        features of two products said nothing.
        """
        if START not in self._done:
            return False
        before = self._done[: self._done.index(START)]
        if sum(bool(_ASIN.fullmatch(_clicked(action))) for action in before) >= _IN_VAIN:
            return True
        return not before or before[-1] == NEXT or before[-1].startswith("search[")

    def _already(self, chosen: Collection[str]) -> str:
        """Says which of the wanted values are chosen, since pages do not show it; "" where none."""
        done = [value for _, value in self.goal.options if value in chosen]
        return f"Chosen {' '.join(done)}. " if done else ""

    def _chosen(self, parts: Sequence[str]) -> set[str]:
        """Returns values that are chosen now: the last clicked one of each option."""
        if shown := {match[1] for part in parts if (match := _CHOSEN.fullmatch(part))}:
            return shown
        chosen: dict[str, str] = {}
        names = {name for name, _ in self.goal.options}
        for action in self._since_opened(parts):
            value = match[1] if (match := _CLICK.fullmatch(action)) else ""
            if value in parts:
                chosen[_option_of(value, parts, names)] = value
        return set(chosen.values())


def looked_up(name: str, value: str, *, parts: Sequence[str], values_here: Collection[str]) -> str:
    """Words the search for a value under an option of a product's page: ``size: six seven yes.``

    Its pupil thinks before it clicks what it wants: it reads what there is until it finds it.
    """
    after = parts[parts.index(name) + 1 :] if name in parts else []
    values = list(itertools.takewhile(lambda part: part.lower() in values_here, after))
    found = value in values_here
    if value in values:
        values = values[: values.index(value) + 1]
    if not 0 < len(values) <= _QUOTED:
        return f"I need {value}." if found else f"There is no {value} here."
    return f"I need {value}. {name}: {' '.join(values)} {'yes' if found else 'no'}."


def _clicked(action: str) -> str:
    """Returns what an action clicks."""
    match = _CLICK.fullmatch(action)
    return match[1] if match else action


def _option_of(value: str, parts: Sequence[str], names: set[str]) -> str:
    """Returns which of the options `names` a value on a product's page stands under."""
    before = reversed(parts[: parts.index(value)])
    return next((part for part in before if part in names), "")


def title_place(parts: Sequence[str]) -> int:
    """Returns where the title of a product's page stands: just before the price."""
    prices = [place for place, part in enumerate(parts) if part.startswith("Price:")]
    return max(prices[0] - 1, 0) if prices else 0


def _opens(action: str, parts: Sequence[str]) -> bool:
    """Tells whether an action opens a product: a click on an asin, not on its page."""
    match = _CLICK.fullmatch(action)
    return bool(match and _ASIN.fullmatch(match[1]) and match[1] not in parts)


def words_of(text: str) -> frozenset[str]:
    """Returns the words of a text in lower case."""
    return frozenset(re.findall(r"[^\s,.;:()]+", text.lower()))
