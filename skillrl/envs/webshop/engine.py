"""Runs the shop: sessions, what actions do to them, and the page that each shows.

A session is an immutable record and an action a function of it. All oddities of the original are
kept; tests/fixtures/webshop has its recorded answers. Source of the rules: WebShop princeton-nlp
64fa2a5, web_agent_site/envs/web_agent_text_env.py.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from skillrl.envs.webshop import pages
from skillrl.envs.webshop.catalogue import Catalogue
from skillrl.envs.webshop.nouns import Nouns
from skillrl.envs.webshop.pages import Piece
from skillrl.envs.webshop.reward import Goal, Reward, purchase_reward

_BASE = "http://127.0.0.1:3000"
_PAGE_NAMES = ("search_results", "item_page", "item_sub_page", "done")
_TABS = {tab.lower(): tab for tab in pages.TABS}
_SEARCH, _BACK, _PREVIOUS, _NEXT, _BUY = (
    text.lower() for text in (pages.SEARCH, pages.BACK, pages.PREVIOUS, pages.NEXT, pages.BUY)
)

Find = Callable[[Sequence[str], str], Sequence[int] | None]
"""(keywords, seed of random searches) -> product numbers; None where there is no answer."""


class Place(enum.Enum):
    """Names the kind of page that a session is on."""

    START = enum.auto()
    RESULTS = enum.auto()
    ITEM = enum.auto()
    SUB = enum.auto()
    DONE = enum.auto()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ShopSession:
    """Holds everything about one visit to the shop.

    Attributes:
      number: of the goal; part of the addresses.
      place: the page it is on.
      keywords: the search, split at blanks.
      page: which page of results it is, or was.
      hits: products that the last search found, by number.
      product: number of the product looked at.
      tab: the sub page it is on.
      options: chosen value of each option, in the order of first choice.
      visited: numbers of the products looked at since the start page.
      searches: how often the shop has searched.
      reward: of the purchase, if there was one.
    """

    number: int
    place: Place = Place.START
    keywords: tuple[str, ...] = ()
    page: int = 1
    hits: Sequence[int] = ()
    product: int = -1
    tab: str = ""
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    visited: frozenset[int] = frozenset()
    searches: int = 0
    reward: Reward | None = None


class Target(NamedTuple):
    """Says what a clickable text stands for: a button, an option of that name, or a product."""

    option: str | None = None
    product: int | None = None


_BUTTON = Target()


class ShopReply(NamedTuple):
    """Answers an action. One that nothing answers to leaves the session as it was."""

    session: ShopSession
    reward: float = 0.0
    done: bool = False


class ShopEngine:
    """Applies the rules of the shop to any number of sessions.

    Args:
      catalogue: the products.
      prices: [products] dollars, by product number.
      nouns: finds the nouns of titles, for rewards.
      find: answers searches; None takes the catalogue's.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        prices: np.ndarray,
        *,
        nouns: Nouns,
        find: Find | None = None,
    ):
        self._catalogue, self._prices, self._nouns = catalogue, prices, nouns
        self._find = find or (lambda keywords, seed: catalogue.find(keywords, seed=seed))

    def step(self, session: ShopSession, goal: Goal, action: str) -> ShopReply:
        """Plays ``search[words]`` or ``click[text]``; any other action changes nothing."""
        parts = parse_action(action)
        if parts is None:
            return ShopReply(session)
        verb, argument = parts[0], parts[1].lower()
        if verb == "search":
            return ShopReply(self._results(session, tuple(argument.split(" ")), 1))
        if verb == "click" and argument != _SEARCH:
            target = self.clickables(session).get(argument)
            if target is not None:
                return self._click(session, goal, text=argument, target=target)
        return ShopReply(session)

    def _click(self, session: ShopSession, goal: Goal, *, text: str, target: Target) -> ShopReply:
        """Clicks; the text decides first: an option named like a button acts as the button."""
        if target.product is not None:
            return ShopReply(_look_at(session, text, target))
        before = self._page_name(session)
        if text == _BUY:
            return self._buy(session, goal)
        if text == _BACK:
            return ShopReply(ShopSession(number=session.number, searches=session.searches))
        if text == _NEXT and before == "search_results":
            return ShopReply(self._results(session, session.keywords, session.page + 1))
        if text == _PREVIOUS and before == "search_results":
            return ShopReply(self._results(session, session.keywords, session.page - 1))
        if text == _PREVIOUS and before == "item_page":
            return ShopReply(self._results(session, session.keywords, session.page))
        if text in _TABS:
            return ShopReply(dataclasses.replace(session, place=Place.SUB, tab=_TABS[text]))
        return ShopReply(_look_at(session, text, target))

    def _results(self, session: ShopSession, keywords: tuple[str, ...], page: int) -> ShopSession:
        """Returns the session after a search, which forgets the chosen options."""
        hits = self._find(keywords, f"{session.number}/{session.searches}")
        if hits is None:
            return session
        return dataclasses.replace(
            session,
            place=Place.RESULTS,
            keywords=keywords,
            page=page,
            hits=hits,
            product=-1,
            options={},
            searches=session.searches + 1,
        )

    def _buy(self, session: ShopSession, goal: Goal) -> ShopReply:
        reward = purchase_reward(
            self._catalogue.product(session.product),
            goal,
            price=float(self._prices[session.product]),
            options=session.options,
            nouns=self._nouns,
        )
        bought = dataclasses.replace(session, place=Place.DONE, reward=reward)
        return ShopReply(bought, reward.total, True)

    def page(self, session: ShopSession, goal: Goal) -> list[Piece]:
        """Returns what the session's page says."""
        product = self._catalogue.product
        if session.place is Place.START:
            return pages.start_page(goal.text)
        if session.place is Place.RESULTS:
            shown = _shown(session)
            return pages.results_page(
                goal.text,
                [product(number) for number in shown],
                [number in session.visited for number in shown],
                number=session.page,
                total=len(session.hits),
            )
        looked_at = product(session.product)
        if session.place is Place.ITEM:
            return pages.item_page(goal.text, looked_at, self.url(session))
        if session.place is Place.SUB:
            return pages.sub_page(goal.text, looked_at, session.tab)
        assert session.reward is not None
        return pages.done_page(looked_at.asin, session.options, session.reward.total)

    def clickables(self, session: ShopSession) -> dict[str, Target]:
        """Returns clickable text -> what it stands for: buttons, then products, then options.

        Of equal texts the first has the place and the last the meaning.
        """
        if session.place is Place.START:
            return {_SEARCH: _BUTTON}
        if session.place is Place.DONE:
            return {}
        found = {_BACK: _BUTTON}
        if session.place is not Place.RESULTS or session.page > 1:
            found[_PREVIOUS] = _BUTTON
        if session.place is Place.RESULTS:
            found[_NEXT] = _BUTTON
            for number in _shown(session):
                found[self._catalogue.product(number).asin.lower()] = Target(product=number)
        if session.place is Place.ITEM:
            found |= dict.fromkeys([*list(_TABS)[:3], _BUY], _BUTTON)
            for name, values in self._catalogue.product(session.product).options.items():
                found |= dict.fromkeys(values, Target(option=name))
        return found

    def url(self, session: ShopSession) -> str:
        """Returns the address of the session's page, on which some oddities rest."""
        number, words, page = session.number, "+".join(session.keywords), session.page
        if session.place is Place.START:
            return f"{_BASE}/{number}"
        if session.place is Place.RESULTS:
            return f"{_BASE}/search_results/{number}/{words}/{page}"
        asin, options = self._catalogue.product(session.product).asin, dict(session.options)
        if session.place is Place.ITEM:
            return f"{_BASE}/item_page/{number}/{asin}/{words}/{page}/{json.dumps(options)}"
        if session.place is Place.SUB:
            return f"{_BASE}/item_sub_page/{number}/{asin}/{words}/{page}/{session.tab}/{options}"
        return f"{_BASE}/done/{number}/{asin}/{options}"

    def _page_name(self, session: ShopSession) -> str:
        """Returns the page as the original tells it: the first name anywhere in the address."""
        url = self.url(session)
        return next((name for name in _PAGE_NAMES if name in url), "")


def parse_action(action: str) -> tuple[str, str] | None:
    """Returns (verb, argument) of ``verb[argument]``, or None: what ``(.+)\\[(.+)\\]`` matches.

    That is the original's expression; it needs quadratic time for many brackets, this linear.
    Only the first line counts, up to its last ``]``; neither part is empty.
    """
    line = action.partition("\n")[0]
    end = line.rfind("]")
    start = line.rfind("[", 1, end - 1) if end > 2 else -1
    return None if start < 0 else (line[:start], line[start + 1 : end])


def _shown(session: ShopSession) -> Sequence[int]:
    """Returns products on the page of results; page 0 has none."""
    last = session.page * pages.PER_PAGE
    return session.hits[max(0, last - pages.PER_PAGE) : last]


def _look_at(session: ShopSession, text: str, target: Target) -> ShopSession:
    """Returns the item page, with the clicked product or option."""
    if target.product is not None:
        visited = session.visited | {target.product}
        session = dataclasses.replace(session, product=target.product, visited=visited)
    elif target.option is not None:
        options = {**session.options, target.option: text}
        session = dataclasses.replace(session, options=options)
    return dataclasses.replace(session, place=Place.ITEM)
