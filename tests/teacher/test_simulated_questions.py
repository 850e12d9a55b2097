import pytest

from skillrl.skills import prompts
from skillrl.teacher.simulated import vocabulary
from skillrl.teacher.simulated.questions.advice import ADVICE
from skillrl.teacher.simulated.questions.reading import names_in, read_documents, whole_question
from skillrl.types import Skill
from tests.teacher.recorded import ask, check_sizes, diagnose, episode, evolve, thoughts

DIRECT, ATTRIBUTE = "direct_retrieval", "entity_attribute_lookup"
HOPS, COMPARE = "multi_hop_reasoning", "comparison"
GOALS = {
    DIRECT: "Who wrote Silver Gate?",
    ATTRIBUTE: "What is the job of Mara Holt?",
    HOPS: "What is the job of the author of Silver Gate?",
    COMPARE: "Which of the two is a baker, Mara Holt or Nils Venn?",
}
BOOK = ("Silver Gate", "Silver Gate was written by Mara Holt. Silver Gate was drawn by Ada Dunn.")
MARA = ("Mara Holt", "Mara Holt is a baker. Mara Holt has 3 sisters.")
NILS = ("Nils Venn", "Nils Venn is a sailor. Nils Venn has 5 sisters.")
TOWN = ("East Ford", "East Ford has the mayor Ada Dunn.")


def search(query, *found):
    texts = [f'Doc {n}(Title: "{t}") {text}' for n, (t, text) in enumerate(found, 1)]
    information = "\n".join(texts)
    return (f"<search>{query}</search>", f"\n\n<information>{information}</information>\n\n")


def answer(text):
    return (f"<answer>{text}</answer>", "The answer is wrong.")


BAD = (
    "let me think",
    "If I want to search, I should put the query between <search> and </search>.",
)
HOP = [search("Silver Gate", BOOK, TOWN), search("Mara Holt", MARA)]


def asked(script, category=DIRECT, **fields):
    fields.setdefault("goal", GOALS[category])
    goal = fields.pop("goal")
    return episode(goal, script, category=category, opening="No search yet.", **fields)


@pytest.mark.parametrize(
    ("script", "category", "causes"),
    [
        ([answer("Ada Dunn")], DIRECT, ["unsearched"]),
        ([search("Silver Gate", BOOK), answer("Leo Moss")], DIRECT, ["unread"]),
        ([search("Silver Gate", BOOK), answer("Ada Dunn")], DIRECT, ["wrong_fact"]),
        ([search("Silver Gate", TOWN), answer("Ada Dunn")], DIRECT, ["wrong_passage"]),
        ([search("Silver Gate", BOOK), answer("Mara Holt")], HOPS, ["one_step"]),
        ([*HOP, answer("3")], HOPS, ["wrong_fact"]),
        ([search("Mara Holt", MARA), answer("Nils Venn")], COMPARE, ["one_side", "unread"]),
        ([search("Mara Holt", MARA, NILS), answer("Nils Venn")], COMPARE, ["wrong_fact"]),
        ([search("Mara Holt", MARA), search("Nils Venn", NILS), answer("no")],
         COMPARE, ["wrong_fact"]),
        ([search("Silver Gate", TOWN)] * 2, DIRECT, ["repeated", "unanswered"]),
        ([search(GOALS[HOPS], TOWN)], HOPS, ["whole", "unanswered"]),
        ([search("Silver Gate", BOOK), search("Gate", TOWN)], DIRECT, ["unanswered"]),
        ([BAD, BAD, search("Silver Gate", BOOK)], DIRECT, ["invalid", "unanswered"]),
        ([BAD, BAD], DIRECT, ["invalid", "unanswered"]),
    ],
)  # fmt: skip
def test_causes_the_decisive_first(script, category, causes):
    assert diagnose(asked(script, category)) == causes


def test_two_failures_with_different_causes_give_skills_that_name_each():
    stopped = asked([search("Silver Gate", BOOK), answer("Mara Holt")], HOPS, task="1")
    whole = asked([search(GOALS[HOPS], TOWN), *HOP], HOPS, task="2")
    added = {entry["title"]: entry for entry in evolve([stopped, whole])["add"]}
    assert added["Take both steps"]["sources"] == [stopped.id]
    assert "first of two steps" in added["Take both steps"]["cause"]
    assert added["Search names only"]["sources"] == [whole.id]
    assert "whole question" in added["Search names only"]["cause"]
    assert {entry["category"] for entry in added.values()} == {HOPS}


def test_a_known_skill_is_refined_and_then_left_alone():
    failures = [asked([search("Silver Gate", BOOK), answer("Mara Holt")], HOPS)]
    first = evolve(failures)["add"][0]
    known = Skill(id="dyn_001", title=first["title"], principle=first["principle"], category=HOPS)
    answer_ = evolve(failures, [known])
    assert (answer_["add"], answer_["refine"][0]["id"]) == ([], "dyn_001")
    better = Skill(
        id="dyn_001",
        title=first["title"],
        principle=answer_["refine"][0]["principle"],
        category=HOPS,
    )
    assert evolve(failures, [better]) == {"add": [], "refine": []}


@pytest.mark.parametrize(
    ("script", "category", "procedure", "advice"),
    [
        ([search("Silver Gate", BOOK), answer("Mara Holt")], DIRECT,
         "Search the name, read the passage of that title, then answer.", "Answer what is asked"),
        ([*HOP, answer("baker")], HOPS,
         "Search the name, then search what its passage says, then answer.", "Take both steps"),
        ([search("Mara Holt", MARA), search("Nils Venn", NILS), answer("Mara Holt")], COMPARE,
         "Search one name, then the other, compare both, then answer.", "Search both names"),
    ],
)  # fmt: skip
def test_a_success_gives_the_procedure(script, category, procedure, advice):
    win = asked(script, category, won=True)
    skills = ask(prompts.success_patterns(category, [win], count=6), "distill_success")
    assert skills[0]["principle"] == procedure
    assert [entry["title"] for entry in skills[1:]] == [advice, "Search names only"]
    assert all(entry["sources"] == [win.id] for entry in skills)


def test_a_search_with_more_words_that_helped_is_a_skill():
    win = asked([search("Gate", TOWN), search("Silver Gate", BOOK), answer("x")], won=True)
    skills = ask(prompts.success_patterns(DIRECT, [win], count=6), "distill_success")
    assert skills[-1]["principle"] == "If a search did not help, add what is asked."


def test_thoughts_are_those_of_the_expert():
    assert thoughts(asked([*HOP, answer("baker")], HOPS, won=True)) == [
        "Find Silver Gate.",
        "Silver Gate was written by Mara Holt.",
        "Mara Holt is a baker.",
    ]
    both = [search("Mara Holt", MARA), search("Nils Venn", NILS)]
    assert thoughts(asked([*both, answer("Mara Holt")], COMPARE, won=True))[1:] == [
        "Mara Holt is a baker.",
        "Mara Holt is a baker.",
    ]
    goal = "Which of the two is a sailor, Mara Holt or Nils Venn?"
    one = [search("Mara Holt", MARA), answer("Nils Venn")]
    assert thoughts(asked(one, COMPARE, goal=goal, won=True))[1] == "Mara Holt is a baker."
    goal = "Who has more sisters, Mara Holt or Nils Venn?"
    more = thoughts(asked([*both, answer("Nils Venn")], COMPARE, goal=goal, won=True))
    assert more[2] == "Mara Holt has 3 sisters. Nils Venn has 5 sisters."
    assert thoughts(asked([BAD, answer("x")], won=True))[0] == "Next do this: let me think."


def test_passages_and_names_are_read():
    result = search("x", BOOK, TOWN)[1]
    assert read_documents(" ".join(result.split())) == [BOOK, TOWN]
    assert read_documents('<information>{"result": "Doc 1: Paris"}</information>')[0][0] == ""
    assert read_documents("nothing") == []
    assert names_in("In which town does Falcon Mills stand?") == ["Falcon Mills"]
    assert names_in("Who wrote it?") == []
    assert whole_question("what is the job of the author of silver gate", GOALS[HOPS])
    assert not whole_question("Silver Gate", GOALS[DIRECT])


def test_all_texts_are_short_and_the_vocabulary_small():
    check_sizes(vocabulary("search"), ADVICE, str)
