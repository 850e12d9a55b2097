"""What a careless shopper heeds of a goal."""

import pytest

from launchers.tiny_policies.careless_webshop import ALL, OPTIONS, PRICE, WORDS, careless_goal
from skillrl.envs.webshop.expert import parse_goal
from skillrl.errors import SkillRLError

GOAL = (
    "Find me quick dry, slim fit knit sweater with color: red, and size: medium, "
    "and price lower than 70.00 dollars"
)


@pytest.mark.parametrize(
    ("heeded", "text"),
    [
        ((), "Find me slim fit knit sweater"),
        ((WORDS,), "Find me quick dry slim fit knit sweater"),
        ((PRICE,), "Find me slim fit knit sweater, and price lower than 70.00 dollars"),
        ((OPTIONS,), "Find me slim fit knit sweater with color: red, and size: medium"),
    ],
)
def test_only_what_is_heeded_remains(heeded, text):
    assert careless_goal(GOAL, heeded) == text


def test_by_default_neither_options_nor_price_are_heeded():
    assert careless_goal(GOAL) == careless_goal(GOAL, (WORDS,))


def test_who_heeds_all_has_the_goal():
    assert parse_goal(careless_goal(GOAL, ALL)) == parse_goal(GOAL)


def test_people_s_instructions_are_refused():
    with pytest.raises(SkillRLError, match="i need a hat"):
        careless_goal("i need a hat")
