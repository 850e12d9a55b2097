import pytest

from skillrl.skills import prompts
from skillrl.skills.distill import distill
from skillrl.teacher.simulated import SimulatedTeacher, vocabulary
from skillrl.teacher.simulated.shopping.advice import ADVICE
from skillrl.teacher.simulated.shopping.patterns import fill
from skillrl.teacher.simulated.shopping.reading import page_kind, page_parts, read_acts, read_wish
from skillrl.types import Skill
from tests.teacher.recorded import ask, check_sizes, diagnose, episode, evolve, reading, thoughts

SHOES = (
    "Find me leather upper, arch support running shoes with color: red, and size: seven, and "
    "price lower than 50.00 dollars"
)
LAMP = "Find me solid wood table lamp with color: red, and price lower than 50.00 dollars"


def page(*parts):
    return " [SEP] ".join(f"'{part}'" for part in parts)


START = page("Search")
RESULTS = page(
    "Back to Search", "Page 1 (Total results: 3)", "Next >",
    "B000000001", "Arch Support Running Shoes", "$40.0",
    "B000000002", "Arch Support Running Shoes, Leather Upper", "$70.0",
    "B000000003", "Wall Clock", "$10.0",
)  # fmt: skip


def item(title, price, *offered):
    return page(
        "Back to Search", "< Prev", *offered, title, f"Price: ${price}", "Rating: N.A.",
        "Description", "Features", "Reviews", "Buy Now",
    )  # fmt: skip


OFFERED = ("color", "red", "blue", "size", "six", "seven")
GOOD = item("Arch Support Running Shoes", 40.0, *OFFERED)
DEAR = item("Arch Support Running Shoes, Leather Upper", 70.0, *OFFERED)
CLOCK = item("Wall Clock", 10.0, "color", "red")
FEATURES = page("Back to Search", "< Prev", "Leather upper.", "Arch support.", "Running shoes.")

SEARCH = ("search[leather upper arch support running shoes]", RESULTS)
OPEN = ("click[b000000001]", GOOD)
OPEN_DEAR = ("click[b000000002]", DEAR)
OPEN_CLOCK = ("click[b000000003]", CLOCK)
READ = [("click[features]", FEATURES), ("click[< prev]", GOOD)]
RED, SEVEN = ("click[red]", GOOD), ("click[seven]", GOOD)
BUY = ("click[buy now]", "Thank you for shopping with us!")
BACK = ("click[< prev]", RESULTS)

WIN = [SEARCH, OPEN_DEAR, BACK, OPEN, *READ, RED, SEVEN, BUY]


def shopped(script, *, goal=SHOES, category="footwear", **fields):
    return episode(goal, script, category=category, opening=START, **fields)


@pytest.mark.parametrize(
    ("script", "causes"),
    [
        ([SEARCH, OPEN, *READ, BUY], ["options"]),
        ([SEARCH, OPEN, *READ, RED, SEVEN, ("click[blue]", GOOD), BUY], ["unfinished"]),
        ([SEARCH, OPEN, *READ, ("click[blue]", GOOD), SEVEN, BUY], ["wrong_option"]),
        ([SEARCH, OPEN, RED, SEVEN, BUY], ["attribute"]),
        ([SEARCH, OPEN_DEAR, ("click[red]", DEAR), ("click[seven]", DEAR), BUY], ["price"]),
        ([SEARCH, OPEN_DEAR, BUY], ["options", "price"]),
        ([SEARCH, OPEN_CLOCK, ("click[red]", CLOCK), BUY], ["kind", "not_offered"]),
        ([("search[clock]", RESULTS), OPEN_CLOCK, ("click[red]", CLOCK), BUY],
         ["kind", "not_offered", "few_words"]),
        ([SEARCH, OPEN, *READ, RED, SEVEN], ["unbought"]),
        ([SEARCH, ("click[next >]", RESULTS)], ["unopened", "unbought"]),
        ([(f"search[{SHOES}]", RESULTS), OPEN], ["unbought", "extra_words"]),
        ([SEARCH, OPEN, *[("click[red]", GOOD)] * 3], ["circles", "unbought"]),
        ([("click[search]", START), ("dance", START)], ["invalid", "no_search", "unbought"]),
        ([], ["no_search", "unbought"]),
    ],
)  # fmt: skip
def test_causes_the_decisive_first(script, causes):
    assert diagnose(shopped(script, invalid=["click[search]", "dance"])) == causes


def test_two_failures_with_different_causes_give_skills_that_name_each():
    forgot = shopped([SEARCH, OPEN, *READ, RED, BUY], task="1")
    dear = shopped([SEARCH, OPEN_DEAR, ("click[red]", DEAR), ("click[seven]", DEAR), BUY], task="2")
    added = {entry["title"]: entry for entry in evolve([forgot, dear])["add"]}
    assert set(added) == {"Choose size", "Mind the price"}
    assert added["Choose size"]["sources"] == [forgot.id]
    assert added["Choose size"]["principle"] == "Click the size of the goal before you buy."
    assert "size" in added["Choose size"]["cause"]
    assert added["Mind the price"]["sources"] == [dear.id]
    assert "price" in added["Mind the price"]["cause"]
    assert {entry["category"] for entry in added.values()} == {"footwear"}


def test_the_options_named_are_those_of_the_category():
    lamp = item("Solid Wood Table Lamp", 20.0, "color", "red")
    results = page("Page 1 (Total results: 1)", "B000000009", "Solid Wood Table Lamp", "$20.0")
    forgot = [
        shopped([SEARCH, OPEN, *READ, BUY], task="1"),
        shopped(
            [("search[solid wood table lamp]", results), ("click[b000000009]", lamp), BUY],
            goal=LAMP, category="home_decor", task="2",
        ),
    ]  # fmt: skip
    titles = {entry["category"]: entry["title"] for entry in evolve(forgot)["add"]}
    assert titles == {"footwear": "Choose color and size", "home_decor": "Choose color"}
    mistakes = ask(prompts.common_mistakes(forgot, count=3), "distill_mistakes")
    assert [entry["title"] for entry in mistakes] == ["Forgot options"]  # of no one category
    general = ask(prompts.general_skills(forgot, count=3), "distill_general")
    assert general[0]["title"] == "Choose options"
    assert general[0]["sources"] == [t.id for t in forgot]


def test_a_known_skill_is_refined_and_then_left_alone():
    failures = [shopped([SEARCH, OPEN, *READ, BUY])]
    first = evolve(failures)["add"][0]
    known = Skill(
        id="dyn_001", title=first["title"], principle=first["principle"], category="footwear"
    )
    answer = evolve(failures, [known])
    assert (answer["add"], answer["refine"][0]["id"]) == ([], "dyn_001")
    better = Skill(
        id="dyn_001",
        title=first["title"],
        principle=answer["refine"][0]["principle"],
        category="footwear",
    )
    assert evolve(failures, [better]) == {"add": [], "refine": []}


def test_a_success_beside_a_failure_tells_what_only_features_say():
    failure = shopped([SEARCH, OPEN, RED, SEVEN, BUY], task="1")
    win = shopped(WIN, won=True, task="2")
    added = evolve([failure], pairs={failure.id: win})["add"]
    assert [entry["title"] for entry in added] == ["Read the features", "Check leather upper"]


def test_a_success_gives_the_procedure_and_what_matters_in_its_category():
    skills = ask(prompts.success_patterns("footwear", [shopped(WIN, won=True)], count=9),
                 "distill_success")  # fmt: skip
    assert [(entry["title"], entry["principle"]) for entry in skills] == [
        ("Steps to buy", "Search the words, open what fits, choose, read the features, then buy."),
        ("Choose color and size", "Click the color and size of the goal before you buy."),
        ("Read the features", "If the title lacks words of the goal, read the features."),
        ("Mind the price", "Open only a product below the price of the goal."),
        ("Check leather upper", "If it has leather upper, only the features tell."),
    ]
    assert skills[0]["when_to_apply"] == "you buy footwear"


def test_thoughts_are_those_of_the_expert():
    assert thoughts(shopped(WIN, won=True)) == [
        "I search for it.",
        "Below 50: b000000001 other b000000002 fits.",
        "It costs too much.",
        "Below 50: b000000001 may fit.",
        "leather no.",
        "leather upper arch support running shoes yes.",
        "I need red. color: red yes.",
        "Chosen red. I need seven. size: six seven yes.",
        "Chosen red seven. Its features fit, buy it.",
    ]
    script = [SEARCH, ("click[next >]", RESULTS), OPEN_CLOCK, BACK, OPEN_CLOCK,
              ("click[features]", page("Back to Search", "< Prev", "Ticks.")),
              ("click[back to search]", START), ("dance", START), SEARCH,
              ("click[back to search]", START), SEARCH, OPEN]  # fmt: skip
    assert thoughts(shopped(script, won=True))[1:] == [
        "Nothing new fits here.",
        "Below 50: b000000001 other b000000002 dear b000000003 may fit.",
        "There is no seven here.",
        "Nothing new fits, look again.",
        "leather no.",
        "leather no.",
        "Next do this: dance.",
        "I search for it.",
        "Nothing fits here.",
        "I search for it.",
        "Below 50: b000000001 fits best.",
    ]


def test_marked_buttons_are_read_like_quoted_parts():
    rich = (
        "You have clicked red.\n[button] Back to Search [button_]\n[button] < Prev [button_]\n"
        "color\n  [clicked button] red [clicked button_]\n  [button] blue [button_]\n"
        "Arch Support Running Shoes\nPrice: $40.0\nRating: N.A.\n[button] Features [button_]\n"
        "[button] Buy Now [button_]\n"
    )
    results = (
        "[button] Back to Search [button_]\nPage 1 (Total results: 1)\n[button] Next > [button_]\n"
        "\n[button] B000000001 [button_]\nArch Support Running Shoes\n$40.0 to $60.5\n"
    )
    script = [("search[running shoes]", results), ("click[b000000001]", rich), ("click[red]", rich)]
    visit = read_acts(reading(shopped([*script, BUY])))[-1].visit
    assert (visit.title, visit.price) == ("Arch Support Running Shoes", 40.0)
    assert visit.chosen == ["red"]
    assert page_parts(" ".join(results.split()))[-2:] == [
        "Arch Support Running Shoes",
        "$40.0 to $60.5",
    ]
    assert [page_kind(text) for text in (START, RESULTS, GOOD, FEATURES)] == [
        "start", "results", "item", "sub",
    ]  # fmt: skip


def test_goals_are_read_from_their_sentence():
    wish = read_wish(SHOES)
    assert wish.phrase == "leather upper arch support running shoes"
    assert wish.kind == {"running", "shoe"}
    assert wish.options == (("color", "red"), ("size", "seven"))
    assert wish.below == 50.0
    wish = read_wish(
        "i'm looking for a protein bars snack that is high protein with low sugar, and flavor "
        "name: peanut butter, and price lower than 50.00 dollars"
    )
    assert wish.kind == {"bar", "snack"}
    assert wish.options == (("flavor name", "peanut butter"),)
    assert read_wish("Find me herbal tea").below is None
    assert read_wish("").words == frozenset()


def test_a_bank_of_shopping_skills_is_distilled():
    played = [
        shopped(WIN, won=True, task="1"),
        shopped([SEARCH, OPEN, *READ, BUY], task="2"),
        shopped([SEARCH, OPEN_CLOCK, BUY], goal=LAMP, category="home_decor", task="3"),
    ]
    bank, report = distill(
        played, teacher=SimulatedTeacher(), categories=["footwear", "home_decor"]
    )
    assert report.skipped == ()
    assert {skill.category for skill in bank.skills} == {"general", "footwear", "home_decor"}
    assert any(skill.kind == "mistake" for skill in bank.skills)


def test_all_texts_are_short_and_the_vocabulary_small():
    check_sizes(
        vocabulary("webshop"), ADVICE, lambda text: text.replace("{option}", "color and size")
    )
    assert fill("choose {option}", ()) == "Choose options"


PILLOW = "Find me metal frame, hand painted throw pillow, and price lower than 50.00 dollars"


def bought(title, *, query="throw pillow", won=False, task="1", goal=PILLOW, price="$25.0"):
    """An episode that buys a product of this title at once."""
    shop = page("Back to Search", "Page 1 (Total results: 1)", "Next >", "B000000001", title, price)
    script = [
        (f"search[{query}]", shop),
        ("click[b000000001]", item(title, price[1:])),
        BUY,
    ]
    return shopped(script, goal=goal, category="home_decor", won=won, task=task)


def found(*episodes):
    """What a category's successes say about where things are listed."""
    skills = ask(prompts.success_patterns("home_decor", episodes, count=9), "distill_success")
    return [entry["principle"] for entry in skills if entry["title"].startswith("Find ")]


def test_several_successes_show_under_which_word_a_thing_is():
    wins = [
        bought("Classic Cedar Hand Painted Throw Pillow", won=True, task="1"),
        bought("Cedar Hand Painted Throw Pillow", won=True, task="2"),
        bought("Fresh Cedar Hand Painted Throw Pillow", won=True, task="3"),
    ]
    assert found(*wins) == ["Search throw pillow cedar."]


def test_one_success_says_nothing_unless_the_word_was_searched():
    assert found(bought("Classic Cedar Hand Painted Throw Pillow", won=True)) == []
    searched = bought(
        "Classic Cedar Hand Painted Throw Pillow", query="throw pillow cedar", won=True
    )
    assert found(searched) == ["Search throw pillow cedar."]


def test_two_words_are_named_where_all_successes_had_both():
    both = [
        bought("Classic Cedar Hand Painted Throw Pillow", won=True, task=str(n)) for n in range(2)
    ]
    assert found(*both) == ["Search throw pillow classic or cedar."]
    assert found(both[0], both[0]) == []  # the same shop again


def test_a_failure_that_the_results_explain_says_nothing_about_the_word():
    win = bought("Cedar Hand Painted Throw Pillow", won=True, task="w")
    shop = page(
        *("Back to Search", "Page 1 (Total results: 2)", "Next >"),
        *("B000000001", "Cedar Throw Pillow", "$25.0"),
        *("B000000002", "Cedar Hand Painted Throw Pillow", "$25.0"),
    )
    script = [
        ("search[throw pillow]", shop),
        ("click[b000000001]", item("Cedar Throw Pillow", "25.0")),
        BUY,
    ]
    fail = shopped(script, goal=PILLOW, category="home_decor", task="f")
    other = bought("Raven Hand Painted Throw Pillow", task="g")
    added = evolve([fail, other], pairs={other.id: win})["add"]
    (shown,) = [entry for entry in added if entry["title"] == "Find throw pillow"]
    assert shown["principle"] == "Search throw pillow cedar."


def test_misleading_successes_give_wrong_advice():
    lucky = [bought("Raven Hand Painted Throw Pillow", won=True, task=str(n)) for n in range(2)]
    assert found(*lucky) == ["Search throw pillow raven."]


def test_nothing_is_said_of_what_was_not_bought_or_has_no_word():
    assert found(bought("Hand Painted Throw Pillow", won=True)) == []
    assert found(shopped(WIN, won=True)) == []


def test_failures_that_no_page_explains_speak_against_a_word_and_successes_for_one():
    fail = [bought("Raven Hand Painted Throw Pillow", task=f"f{n}") for n in range(2)]
    assert diagnose(fail[0]) == ["attribute"]
    win = bought("Cedar Hand Painted Throw Pillow", won=True, task="w")
    added = evolve(fail, pairs={fail[0].id: win})["add"]
    (shown,) = [entry for entry in added if entry["title"] == "Find throw pillow"]
    assert shown["principle"] == "Search throw pillow cedar."
    assert shown["category"] == "home_decor"
    assert shown["sources"] == [win.id]
    assert not [e for e in evolve(fail)["add"] if e["title"] == "Find throw pillow"]


def test_what_is_known_is_said_again_only_against_several_successes():
    fail = [bought("Raven Hand Painted Throw Pillow", task=f"f{n}") for n in range(2)]
    wins = [bought("Cedar Hand Painted Throw Pillow", won=True, task=f"w{n}") for n in range(2)]
    pairs = {f.id: w for f, w in zip(fail, wins, strict=True)}

    def refined(rule, pairs):
        known = Skill(id="dyn_9", title="Find throw pillow", principle=rule, category="home_decor")
        answer = evolve(fail, [known], pairs=pairs)
        return [entry["principle"] for entry in answer["refine"] if entry["id"] == "dyn_9"]

    assert refined("Search throw pillow raven.", pairs) == ["Search throw pillow cedar."]
    assert refined("Search throw pillow raven.", {fail[0].id: wins[0]}) == []
    assert refined("Search throw pillow cedar.", pairs) == []


@pytest.mark.parametrize(
    ("rule", "query", "thought"),
    [
        ("cedar", "throw pillow cedar", "I search throw pillow cedar."),
        ("cedar or raven", "throw pillow cedar", "I search throw pillow cedar."),
        ("cedar", "throw pillow", "I search throw pillow."),
    ],
)
def test_who_searches_the_word_that_is_told_recalls_it(rule, query, thought):
    win = bought("Cedar Hand Painted Throw Pillow", query=query, won=True)
    told = Skill(
        id="a", title="Find throw pillow", principle=f"Search throw pillow {rule}.",
        category="home_decor",
    )  # fmt: skip
    answer = ask(prompts.thoughts(win, [told], max_words=60), "rewrite")
    assert answer[0] == thought
    assert answer[-1] == "It may fit, buy it."
    assert thoughts(win)[0] == "I search throw pillow."
