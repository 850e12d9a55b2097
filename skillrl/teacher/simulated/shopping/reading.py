"""Reads shop episodes (WebShop): what the goal asks for, the pages, and what happened."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from skillrl.teacher.simulated.recordings import Recording

BUY, BACK, PREVIOUS, NEXT = "buy now", "back to search", "< prev", "next >"
TABS = ("description", "features", "reviews", "attributes")

_ACTION = re.compile(r"(search|click)\[(.+)\]", re.S)
_PRICE = re.compile(r",?(?: and)? price (?:lower|less) than \$?(\d+(?:\.\d+)?)(?: dollars)?\.?\s*$")
_OPTION = re.compile(
    r"(?:,? and|,| with) ((?:(?!with\b|and\b)[\w'-]+ ?){1,3}): ([^,:]+)(?=,|$| with | and )"
)
_OPENING = re.compile(r"^(?:find me|show me|i am looking for|i'm looking for|i want|i need) ")
_FILLING = "a an the of for in and or with that which is are my to me it"
_MARKUP = re.compile(r"\[(?:clicked )?button_?\]")
# With buttons marked, plain strings stand side by side: a title, then a price or a rating.
_SEAMS = re.compile(
    r" (?=Price: \$|Rating: )|(?<! to)(?<!Price:) (?=\$\d[\d.]*(?: to \$\d[\d.]*)?\s*(?:\[|$))"
)
_RESULTS = re.compile(r"Page \d+ \(Total results: \d+\)")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclasses.dataclass(frozen=True, slots=True)
class Wish:
    """Holds what a goal sentence asks for.

    Attributes:
      phrase: the words before options and price, in their order, without commas.
      kind: the words that say what sort of product it is (at most the last two of its clause).
      options: (name, value) pairs.
      below: dollars that the price must not exceed; None without a limit.
      thing: the words of the kind, in their order.
    """

    phrase: str
    kind: frozenset[str]
    options: tuple[tuple[str, str], ...]
    below: float | None
    thing: str = ""

    @property
    def words(self) -> frozenset[str]:
        """What a fitting product's title and features contain."""
        return words_of(self.phrase)


def read_wish(goal: str) -> Wish:
    """Returns what a goal sentence, synthetic or of a person, asks for."""
    text, below = goal.strip().lower().rstrip("."), None
    if match := _PRICE.search(text):
        text, below = text[: match.start()], float(match[1])
    pairs = list(_OPTION.finditer(text))
    options = tuple((pair[1].strip(), pair[2].strip()) for pair in pairs)
    text = text[: pairs[0].start()] if pairs else text
    synthetic = text.startswith("find me ")
    text = _OPENING.sub("", text)
    # "Find me A, B kind": the kind ends the sentence; people begin with it.
    clause = text.split(",")[-1 if synthetic else 0]
    clause = re.split(r" (?:with|that|which|for|in) ", clause)[0]
    kind = [word for word in re.findall(r"[^\s,.;:()]+", clause) if word not in _FILLING.split()][
        -2:
    ]
    phrase = " ".join(text.replace(",", " ").split())
    thing = " ".join(kind)
    return Wish(phrase, words_of(thing), options, below, thing)


def words_of(text: str) -> frozenset[str]:
    """Returns words that mean something, in lower case, without the s of a plural."""
    words, filling = re.findall(r"[^\s,.;:()]+", text.lower()), _FILLING.split()
    return frozenset(_singular(word) for word in words if word not in filling)


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def page_parts(text: str) -> list[str]:
    """Returns the visible strings of a page, without quotes and the marks of buttons."""
    if _MARKUP.search(text):
        text = _MARKUP.sub("[SEP]", _SEAMS.sub("[SEP]", text))
    parts = text.split("[SEP]")
    return [part for part in (part.strip().strip("'\"").strip() for part in parts) if part]


def page_kind(text: str) -> str:
    """Tells the kind of a page: ``start``, ``results``, ``item`` or ``sub``."""
    lower = [part.lower() for part in page_parts(text)]
    if _RESULTS.search(text):
        return "results"
    if BUY in lower:
        return "item"
    return "sub" if BACK in lower else "start"


def price_in(text: str) -> float | None:
    """Returns the (higher) price that a text names; None where it names none."""
    return max(map(float, _NUMBER.findall(text)), default=None)


@dataclasses.dataclass(slots=True, kw_only=True)
class Visit:
    """Describes one look at a product.

    Attributes:
      name: what was clicked.
      title: of the product.
      price: dollars; None if unknown.
      offered: strings of its page before the title: option names and values.
      read: text of the sub pages that were read.
      chosen: values that were clicked.
    """

    name: str
    title: str = ""
    price: float | None = None
    offered: tuple[str, ...] = ()
    read: str = ""
    chosen: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PageMove:
    """Holds a move with the page on which it was made.

    Attributes:
      verb: ``search``, ``click``, or "" if it is neither.
      text: what was searched or clicked, in lower case.
      page: `page_kind` of the page.
      shown: text of the page.
      visit: the product on the page, or of which it is a sub page.
      valid: it was no invalid action.
      idle: it left the page as it was.
    """

    verb: str
    text: str
    page: str
    shown: str
    visit: Visit | None
    valid: bool
    idle: bool


def read_acts(recording: Recording) -> list[PageMove]:
    """Returns the moves, each with where it was made; visits are complete."""
    page, visit, acts = recording.opening, None, []
    for move in recording.moves:
        match = _ACTION.fullmatch(move.action.strip())
        verb, text = (match[1], match[2].lower().strip()) if match else ("", move.action.lower())
        kind, valid = page_kind(page), bool(match) and not move.invalid
        visit = None if kind in ("start", "results") else visit
        if kind == "item":
            visit = visit or Visit(name="")
            _look(visit, page)
        idle = move.result == page
        acts.append(
            PageMove(
                verb=verb, text=text, page=kind, shown=page, visit=visit, valid=valid, idle=idle
            )
        )
        if not valid:
            continue
        if visit and kind == "item" and text in [value.lower() for value in visit.offered]:
            visit.chosen.append(text)
        if visit and text in TABS:
            visit.read += " " + " ".join(page_parts(move.result))
        found = [row for row in results_on(page) if row[0] == text]
        if kind == "results" and verb == "click" and found:
            name, title, price = found[0]
            visit = Visit(name=name, title=title, price=price)
            # An open product stays the visited one until results or start are shown again.
            if page_kind(move.result) == "item":
                _look(visit, move.result)
            page = move.result
            acts[-1] = dataclasses.replace(acts[-1], visit=visit)
            continue
        page = move.result
    return acts


def _look(visit: Visit, page: str) -> None:
    """Adds what a product's page says to `visit`."""
    parts = page_parts(page)
    prices = [at for at, part in enumerate(parts) if part.startswith("Price:")]
    if not prices or not prices[0]:
        return
    lower = [part.lower() for part in parts]
    first = lower.index(PREVIOUS) + 1 if PREVIOUS in lower else 0
    visit.title = parts[prices[0] - 1]
    visit.price = price_in(parts[prices[0]])
    visit.offered = tuple(parts[first : prices[0] - 1])


def results_on(page: str) -> list[tuple[str, str, float | None]]:
    """Returns the name in lower case, title and price of the products on a page of results."""
    parts = page_parts(page)
    return [
        (parts[at].lower(), parts[at + 1], price_in(parts[at + 2]))
        for at in range(len(parts) - 2)
        if parts[at + 2].startswith("$")
    ]


def evidence(recording: Recording) -> int:
    """Returns how many of the actions, and the goal too, are those of a shop."""
    goal = bool(_PRICE.search(recording.goal.lower()))
    return goal + sum(bool(_ACTION.fullmatch(move.action.strip())) for move in recording.moves)


def chosen_too(value: str, chosen: Sequence[str]) -> bool:
    """Tells whether a chosen value is the wanted one, or says it in more or fewer words."""
    wanted = words_of(value)
    return any(wanted <= words_of(other) or words_of(other) <= wanted for other in chosen)


UNDER = "Search {thing} {word}."
"""The rule that says under which word a kind of product is listed; two are joined by or."""


def told_word(rules: Sequence[str], thing: str) -> str:
    """Returns the word, the first of two, that rules name for `thing`; "" where none does."""
    before, after = map(re.escape, UNDER.format(thing=thing, word="\n").split("\n"))
    form = rf"{before}(\S+)(?: or \S+)?{after}"
    return next((match[1] for rule in rules if (match := re.fullmatch(form, rule))), "")
