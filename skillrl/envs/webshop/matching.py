"""Compares attributes and options fuzzily, with the numbers that WebShop's rewards rest on.

Source of the rules: WebShop princeton-nlp 64fa2a5, web_agent_site/engine/{goal,normalize}.py and
the library they call, thefuzz. RapidFuzz scores the same once texts are prepared and scores are
rounded as thefuzz does it.
"""

from __future__ import annotations

import functools

from rapidfuzz import fuzz, utils

THRESHOLD = 85
"""Two texts match when their score is greater than this."""

_COLORS = """
alabaster apricot aqua ash asphalt azure banana beige black blue blush bordeaux bronze brown
burgundy camel camo caramel champagne charcoal cheetah chestnut chocolate christmas coffee
cognac copper coral cranberry cream crystal dark denim eggplant elephant espresso fuchsia
gold granite grape graphite grass gray green grey heather indigo ivory ivy khaki lavender
lemon leopard light lilac lime magenta maroon mauve merlot midnight mint mocha multicolor
mushroom mustard natural navy nude olive orange peach pewter pink plum purple rainbow red
rose royal rust sand sapphire seashell silver skull slate steel stone stonewash sunflower
tan taupe teal tiger turquoise violet walnut wheat white wine yellow
"""

COLORS = tuple(_COLORS.split())
"""Colour names in the order in which they are looked for."""

Option = str | tuple[str, str]
"""A chosen value, or the (name, value) that a synthetic goal asks for."""

_LATIN1_DROPPED = dict.fromkeys(range(128, 256))


@functools.lru_cache(maxsize=65536)
def token_set_ratio(left: Option, right: Option) -> int:
    """Compares two texts as sets of words, 0 to 100; a tuple is compared as its ``str()``.

    Letters between U+0080 and U+00FF are dropped, others than letters and digits become blanks,
    case is ignored; a text without words scores 0 with everything.
    """
    return round(fuzz.token_set_ratio(_prepared(left), _prepared(right)))


def matches(left: Option, right: Option) -> bool:
    """Returns whether the two are close enough to count as the same."""
    return token_set_ratio(left, right) > THRESHOLD


def normalize_color(text: Option) -> Option:
    """Returns the first colour that `text` contains, in place of `text`; else `text` itself.

    "titanium" becomes "tan". A tuple contains only what equals one of its elements, so
    ("color", "dark red") stays as it is.
    """
    return next((color for color in COLORS if color in text), text)


def _prepared(text: Option) -> str:
    return utils.default_process(str(text).translate(_LATIN1_DROPPED))
