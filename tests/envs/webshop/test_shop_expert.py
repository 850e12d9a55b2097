"""The text-only shopper, on pages written by hand: what it reads, and what it does then."""

import pytest

from skillrl.envs.webshop.expert import (
    BUY,
    FEATURES,
    NEXT,
    PREVIOUS,
    START,
    ShopExpert,
    ShoppingGoal,
    page_parts,
    parse_goal,
    read_results,
)
from skillrl.errors import SkillRLError
from skillrl.types import Observation

GOAL = (
    "Find me rubber sole, arch support ankle boots with color: red, and size: nine, "
    "and price lower than 40.00 dollars"
)
RIGHT = "classic rubber sole arch support ankle boots"


def _page(*parts, actions):
    return Observation(" [SEP] ".join(f"'{part}'" for part in parts), tuple(actions))


def start():
    return _page("Search", actions=["search[<your query>]", "click[search]"])


def results(*rows, page=1, total=None):
    total = len(rows) if total is None else total
    buttons = ["< Prev", "Next >"] if page > 1 else ["Next >"]
    parts = ["Back to Search", f"Page {page} (Total results: {total})", *buttons]
    for asin, title, price in rows:
        parts += [asin, title, price]
    actions = [START, *(f"click[{b.lower()}]" for b in buttons)]
    return _page(*parts, actions=[*actions, *(f"click[{row[0].lower()}]" for row in rows)])


def item(
    title=RIGHT, price="$35.0", options=(("color", ("red", "blue")), ("size", ("six", "nine")))
):
    parts, values = ["Back to Search", "< Prev"], []
    for name, some in options:
        parts += [name, *some]
        values += [f"click[{value}]" for value in some]
    tabs = ["Description", "Features", "Reviews", "Buy Now"]
    parts += [title, f"Price: {price}", "Rating: N.A.", *tabs]
    buttons = [START, PREVIOUS, "click[description]", FEATURES, "click[reviews]", BUY]
    return _page(*parts, actions=[*buttons, *values])


def features(*lines):
    return _page("Back to Search", "< Prev", *lines, actions=[START, PREVIOUS])


def play(*observations, goal=GOAL):
    """The actions of an expert that is shown these pages one after the other."""
    expert = ShopExpert(goal)
    return [expert.act(observation).action for observation in observations]


def test_a_goal_is_words_options_and_a_bound():
    assert parse_goal(GOAL) == ShoppingGoal(
        "rubber sole arch support ankle boots", (("color", "red"), ("size", "nine")), 40.0
    )


@pytest.mark.parametrize(
    ("sentence", "goal"),
    [
        ("Find me easy clean dog bed", ShoppingGoal("easy clean dog bed")),
        ("Find me dog bed, and price lower than 9.50 dollars.", ShoppingGoal("dog bed", (), 9.5)),
        (
            "Find me lamp with shade with fit type: a b",
            ShoppingGoal("lamp with shade", (("fit type", "a b"),)),
        ),
        (
            "Find me lamp with size: 1, 2, and b, and fit: c: d, and price lower than 9 dollars",
            ShoppingGoal("lamp", (("size", "1, 2, and b"), ("fit", "c: d")), 9.0),
        ),
    ],
)
def test_parts_of_a_goal_may_be_missing(sentence, goal):
    assert parse_goal(sentence) == goal


def test_people_s_instructions_are_refused():
    with pytest.raises(SkillRLError, match="i need boots"):
        ShopExpert("i need boots")


@pytest.mark.parametrize("rich", [False, True])
def test_results_are_read_in_both_modes(rich):
    text = (
        "Instruction:\nFind me boots\n[button] Back to Search [button_]\n"
        "Page 1 (Total results: 2)\n[button] Next > [button_]\n"
        "\n[clicked button] B000000001 [clicked button_]\nred boots\n$24.0\n"
        "\n[button] B000000002 [button_]\nblue boots\n$12.5 to $18.25\n"
    )
    if not rich:
        text = (
            "Instruction: [SEP] Find me boots [SEP] Back to Search [SEP] Page 1 (Total results: 2) "
            "[SEP] Next > [SEP] B000000001 [SEP] red boots [SEP] $24.0 [SEP] B000000002 [SEP] "
            "blue boots [SEP] $12.5 to $18.25"
        )
    actions = (START, NEXT, "click[b000000001]", "click[b000000002]")
    found = [(r.action, r.title, r.price) for r in read_results(Observation(text, actions))]
    assert found == [
        ("click[b000000001]", "red boots", "$24.0"),
        ("click[b000000002]", "blue boots", "$12.5 to $18.25"),
    ]


def test_parts_lose_quotes_and_markup():
    text = "'< Prev' [SEP] '24 \"' [SEP] [clicked button] red [clicked button_]"
    assert page_parts(text)[::2] == ["< Prev", "red"]


def test_shops_from_the_search_to_the_purchase():
    rows = [
        ("A000000001", "classic rubber sole walking shoes", "$25.0"),
        ("A000000002", RIGHT, "$95.0"),
        ("A000000003", RIGHT, "$35.0"),
    ]
    assert play(start(), results(*rows), item(), item(), item()) == [
        "search[rubber sole arch support ankle boots]",
        "click[a000000003]",
        "click[red]",
        "click[nine]",
        BUY,
    ]


def test_what_lacks_an_option_is_left_and_not_opened_again():
    rows = [("A000000001", RIGHT, "$25.0"), ("A000000002", RIGHT, "$35.0")]
    lacking = item(options=(("color", ("red", "blue")), ("size", ("six", "seven"))))
    assert play(start(), results(*rows), lacking, lacking, results(*rows), item())[1:] == [
        "click[a000000001]",
        "click[red]",
        PREVIOUS,
        "click[a000000002]",
        "click[red]",
    ]


def test_options_chosen_on_another_product_do_not_count():
    rows = [("A000000001", RIGHT, "$25.0"), ("A000000002", RIGHT, "$35.0")]
    expert = ShopExpert(GOAL)
    for page in (start(), results(*rows), item()):
        expert.act(page)
    expert.played(PREVIOUS)  # instead of click[red]
    assert expert.act(results(*rows)).action == "click[a000000002]"
    assert expert.act(item()).action == "click[red]"


@pytest.mark.parametrize("played", ["", "click[blue]"])
def test_an_option_that_was_not_really_clicked_is_clicked_again(played):
    expert = ShopExpert(GOAL)
    for page in (start(), results(("A000000001", RIGHT, "$25.0"))):
        expert.act(page)
    assert expert.act(item()).action == "click[red]"
    expert.played(played)
    assert expert.act(item()).action == "click[red]"
    assert expert.act(item()).action == "click[nine]"


def test_a_choice_that_was_replaced_is_made_again():
    expert = ShopExpert(GOAL)
    for page in (start(), results(("A000000001", RIGHT, "$25.0")), item(), item()):
        last = expert.act(page).action
    assert last == "click[nine]"
    expert.played("click[blue]")  # replaces red
    assert [expert.act(item()).action for _ in range(3)] == ["click[red]", "click[nine]", BUY]


def test_rich_text_that_shows_the_choices_is_believed():
    expert = ShopExpert(GOAL)
    shown = item()
    shown = Observation("You have clicked red.\n" + shown.text, shown.admissible)
    assert expert.act(shown).action == "click[nine]"


def test_a_dear_product_is_left():
    assert play(item(price="$95.0")) == [PREVIOUS]
    assert play(item(price="$35.0 to $45.0")) == [PREVIOUS]
    assert play(item(price="$40.0")) == ["click[red]"]  # the limit itself is allowed


HIDDEN = "Find me rubber sole, padded heel ankle boots with color: red"


def test_features_are_read_where_the_title_says_too_little():
    title = "rubber sole ankle boots for work"
    rows = [("A000000001", title, "$25.0")]
    fit = features("rubber sole ankle boots", "padded heel", "made for work")
    pages = (start(), results(*rows), item(title), item(title), fit, item(title))
    assert play(*pages, goal=HIDDEN)[1:] == [
        "click[a000000001]",
        "click[red]",
        FEATURES,
        PREVIOUS,
        BUY,
    ]


def test_features_that_do_not_fit_lead_to_another_product():
    title = "rubber sole ankle boots for work"
    rows = [("A000000001", title, "$25.0"), ("A000000002", title, "$25.0")]
    other = features("rubber sole ankle boots", "leather upper", "made for work")
    opened = (item(title), item(title))
    pages = (start(), results(*rows), *opened, other, start(), results(*rows), *opened)
    assert play(*pages, goal=HIDDEN)[3:] == [
        FEATURES,
        START,
        "search[rubber sole padded heel ankle boots]",
        "click[a000000002]",
        "click[red]",
        FEATURES,
    ]


def test_the_goal_on_a_page_is_not_taken_for_features():
    expert = ShopExpert(HIDDEN)
    text = f"Instruction: [SEP] {HIDDEN} [SEP] Back to Search [SEP] < Prev [SEP] leather upper"
    assert expert.act(Observation(text, (START, PREVIOUS))).action == START


def test_turns_the_page_where_nothing_fits_and_starts_again_at_the_end():
    rows = [(f"A00000000{n}", "silk scarf", "$25.0") for n in range(10)]
    assert play(results(*rows, total=12), results(*rows[:2], page=2, total=12)) == [NEXT, START]


def test_opens_the_one_tried_longest_ago_when_all_were_tried():
    rows = [("A000000001", RIGHT, "$25.0"), ("A000000002", RIGHT, "$35.0")]
    lacking = item(options=())
    page = results(*rows)
    assert play(page, lacking, page, lacking, page)[-1] == "click[a000000001]"


@pytest.mark.parametrize(
    ("colors", "thought"),
    [
        (("blue", "red", "pink"), "I need red. color: blue red yes."),
        (("blue", "pink"), "I need red. color: blue pink no."),
        ((*"abcdef", "red"), "I need red."),
        (tuple("abcdefg"), "There is no red here."),
    ],
)
def test_a_thought_reads_an_option_up_to_the_wanted_value(colors, thought):
    assert ShopExpert(GOAL).act(item(options=(("color", colors),))).thought == thought


def test_a_thought_says_what_is_chosen_of_the_product_at_hand():
    expert = ShopExpert(GOAL)
    rows = [("A000000001", RIGHT, "$25.0"), ("A000000002", RIGHT, "$35.0")]
    pages = (start(), results(*rows), item(), item(options=(("color", ("red", "blue")),)))
    said = [expert.act(page).thought for page in (*pages, results(*rows), item())]
    assert said[2] == "I need red. color: red yes."
    assert said[3] == "Chosen red. There is no nine here."
    assert said[5] == "I need red. color: red yes."  # it is the other product


def test_thoughts_are_short():
    expert = ShopExpert(GOAL)
    rows = [("A000000001", RIGHT, "$25.0")]
    for page in (start(), results(*rows), item(), item(), item(), item(options=()), features("x")):
        move = expert.act(page)
        assert 0 < len(move.thought.split()) < 20
        assert move.action in page.admissible or move.action.startswith("search[")
