"""Says what a page of the shop shows: its pieces of text, and the two ways to write them.

The original makes HTML and takes the visible text out of it again; the pieces below are what
comes out. Source of the rules: WebShop princeton-nlp 64fa2a5,
web_agent_site/envs/web_agent_text_env.py and templates.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from skillrl.envs.webshop.product import Product

SEARCH, BACK, PREVIOUS, NEXT, BUY = "Search", "Back to Search", "< Prev", "Next >", "Buy Now"
TABS = ("Description", "Features", "Reviews", "Attributes")
"""Sub pages of an item. Nothing leads to Attributes but an option that happens to be named so."""

PER_PAGE = 10
"""Products on a page of results."""

_SEPARATOR = " [SEP] "
_BLANKS = " \t\n\f\r"


class Kind(enum.Enum):
    """Says how ``text_rich`` writes a piece."""

    PLAIN = enum.auto()
    BUTTON = enum.auto()
    OPTION = enum.auto()
    PRODUCT = enum.auto()


class Piece(NamedTuple):
    """Holds a visible piece of text; `marked` where a product or an option counts as clicked."""

    text: str
    kind: Kind = Kind.PLAIN
    marked: bool = False


def _button(text: str) -> Piece:
    return Piece(text, Kind.BUTTON)


def start_page(goal: str) -> list[Piece]:
    """Returns the page with the search bar."""
    return [Piece("WebShop"), Piece("Instruction: "), Piece(goal), _button(SEARCH)]


def results_page(
    goal: str, products: Sequence[Product], clicked: Sequence[bool], *, number: int, total: int
) -> list[Piece]:
    """Returns a page of search results.

    Args:
      goal: the instruction, which every page shows.
      products: those on the page, in order.
      clicked: for each of them, whether it was visited.
      number: of the page, from 1.
      total: results on all pages.
    """
    pieces = [*_head(goal), Piece(f"Page {number} (Total results: {total})")]
    if number > 1:
        pieces.append(_button(PREVIOUS))
    pieces.append(_button(NEXT))
    for product, marked in zip(products, clicked, strict=True):
        pieces.append(Piece(product.asin, Kind.PRODUCT, marked))
        pieces += [Piece(product.title), Piece(product.price_text)]
    return pieces


def item_page(goal: str, product: Product, url: str) -> list[Piece]:
    """Returns the page of a product with its options.

    A value counts as chosen if it stands between double quotes anywhere in `url`, as in the
    original: the choice is part of it as JSON, but so are the keywords of the search.
    """
    pieces = [*_head(goal), _button(PREVIOUS)]
    for name, values in product.options.items():
        pieces.append(Piece(name))
        for value in values:
            pieces.append(Piece(value, Kind.OPTION, f'"{_visible(value)}"' in url))
    pieces += [Piece(product.title), Piece(f"Price: {product.price_text}"), Piece("Rating: N.A.")]
    return pieces + [_button(text) for text in (*TABS[:3], BUY)]


def sub_page(goal: str, product: Product, tab: str) -> list[Piece]:
    """Returns the sub page of a tab, one of `TABS`. There are no reviews."""
    pieces = [*_head(goal), _button(PREVIOUS)]
    if tab == "Description":
        pieces.append(Piece(product.description))
    elif tab == "Features":
        pieces += [Piece(f" {line}") for line in product.bullets]
    elif tab == "Attributes":
        pieces += [Piece(f" {attribute}") for attribute in product.attributes]
        pieces += map(Piece, (product.category, product.query, product.product_category))
    return pieces


def done_page(asin: str, options: Mapping[str, str], reward: float) -> list[Piece]:
    """Returns the page after the purchase, its hidden parts included."""
    nothing = "None"
    texts = ["Thank you for shopping with us!", "Your code: ", nothing]
    texts += [" (Paste it in your MTurk interface.)", "Purchased"]
    texts += ["asin", asin, "options", _html_json(options)]
    for name in ("attrs", "category", "query", "product category"):
        texts += [name, nothing]
    texts += ["Target", "asin", "options", "attrs", "price upper", "instuction text"]
    texts += ["category", "product category", "query", "Goal ", nothing]
    texts += ["Reward", "Your score (min 0.0, max 1.0)", str(reward), "Reward Details ", nothing]
    return [Piece(text) for text in texts]


def as_text(pieces: Iterable[Piece]) -> str:
    """Writes the pieces in WebShop's mode ``text``: on one line, separated by ``[SEP]``."""
    return _SEPARATOR.join(text.strip() for text, _ in _seen(pieces))


def as_quoted_text(pieces: Iterable[Piece]) -> str:
    """Writes the pieces as verl-agent shows them: as in ``text``, each in single quotes."""
    return _SEPARATOR.join(f"'{text.strip()}'" for text, _ in _seen(pieces))


def as_rich_text(pieces: Iterable[Piece]) -> str:
    """Writes the pieces in WebShop's mode ``text_rich``: a line each, with marks."""
    chosen: list[str] = []
    lines = []
    for text, piece in _seen(pieces):
        mark = "clicked button" if piece.marked else "button"
        if piece.kind is Kind.PLAIN:
            lines.append(text)
        elif piece.kind is Kind.BUTTON:
            lines.append(f"[button] {text} [button_]")
        elif piece.kind is Kind.PRODUCT:
            lines.append(f"\n[{mark}] {text} [{mark}_]")
        else:
            lines.append(f"  [{mark}] {text} [{mark}_]")
            if piece.marked:
                chosen.append(f"You have clicked {text}.")
    return "".join(f"{line}\n" for line in (*reversed(chosen), *lines))


def after_goal(pieces: Sequence[Piece]) -> Sequence[Piece]:
    """Drops the pieces up to the goal; keeps all of a page without one."""
    heads = ("Instruction:", "Instruction: ")
    start = next((i + 2 for i, piece in enumerate(pieces[:2]) if piece.text in heads), 0)
    return pieces[start:]


def _head(goal: str) -> list[Piece]:
    return [Piece("Instruction:"), Piece(goal), _button(BACK)]


def _seen(pieces: Iterable[Piece]) -> Iterable[tuple[str, Piece]]:
    for piece in pieces:
        if text := _visible(piece.text):
            yield text, piece


def _visible(text: str) -> str:
    """Returns what the HTML parser makes of a text: blank ones become one blank, or nothing.

    Only those blanks count that HTML calls so. One that holds a line break is taken for
    layout and vanishes.
    """
    if text.strip(_BLANKS):
        return text
    return "" if not text or "\n" in text else " "


def _html_json(options: Mapping[str, str]) -> str:
    text = json.dumps(dict(options), sort_keys=True)
    return text.translate({ord(char): f"\\u{ord(char):04x}" for char in "<>&'"})
