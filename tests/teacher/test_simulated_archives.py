"""What the simulated teacher finds out about archives, from episodes alone."""

import pytest

from benchmarks.controls.search import play
from launchers.tiny_policies.search_advice import BOTH as COMPARE
from launchers.tiny_policies.search_advice import READ
from launchers.tiny_policies.search_pupil import ALL, Pupil
from skillrl.config.settings import EnvConfig
from skillrl.envs.search.customs import right_about
from skillrl.envs.search.questions import CUSTOM
from skillrl.envs.search.suite import SearchSuite
from skillrl.skills import prompts
from skillrl.teacher.simulated.questions.cards import misled, read_cards, verdicts
from skillrl.teacher.simulated.questions.reading import read_turns
from skillrl.types import Skill
from tests.teacher.recorded import ask, episode, evolve, reading, thoughts

SONG_ATLAS = ("Wild Song", "Wild Song, atlas: animal fox; author Cora Penn.")
SONG_LEDGER = ("Wild Song", "Wild Song, ledger: author Ada Holt; animal bear.")
CORA_ATLAS = ("Cora Penn", "Cora Penn, atlas: job cook; born in Old Ford.")
CORA_LEDGER = ("Cora Penn", "Cora Penn, ledger: born in New Dale; job baker.")
LEO_LEDGER = ("Leo Reed", "Leo Reed, ledger: born in New Dale; job clerk.")
AUTHOR = "Who is the author of Wild Song?"
HOPS = "Where was the author of Wild Song born?"
JOB = "Whose job is baker, Cora Penn or Leo Reed?"


def search(query, *found):
    texts = [f'Doc {n}(Title: "{t}") {text}' for n, (t, text) in enumerate(found, 1)]
    return f"<search>{query}</search>", f"<information>{' '.join(texts)}</information>"


def asked(goal, *script, answer, won=False, category="direct_retrieval", task="0001"):
    steps = [*script, (f"<answer>{answer}</answer>", "")]
    return episode(goal, steps, category=category, opening="No search yet.", won=won, task=task)


BOTH = search("Wild Song", SONG_ATLAS, SONG_LEDGER)
HOP = search("Cora Penn", CORA_ATLAS, CORA_LEDGER)
NAMES = (search("Cora Penn", CORA_LEDGER, CORA_ATLAS), search("Leo Reed", LEO_LEDGER))


def test_cards_are_read():
    (turn, _) = read_turns(reading(asked(AUTHOR, BOTH, answer="Cora Penn")))
    first, _ = read_cards(turn)
    assert (first.name, first.archive) == ("Wild Song", "atlas")
    assert first.claims["author"] == ("author Cora Penn", "Cora Penn")


@pytest.mark.parametrize(
    ("recorded", "told"),
    [
        (asked(AUTHOR, BOTH, answer="Cora Penn", won=True),
         {("author", "atlas", True), ("author", "ledger", False)}),
        (asked(AUTHOR, BOTH, answer="Ada Holt"), {("author", "ledger", False)}),
        (asked(AUTHOR, BOTH, answer="fox"), set()),
        (asked(HOPS, BOTH, HOP, answer="Old Ford", won=True, category="multi_hop_reasoning"),
         {("author", "atlas", True), ("author", "ledger", False),
          ("born", "atlas", True), ("born", "ledger", False)}),
        (asked(HOPS, BOTH, HOP, answer="Old Ford", category="multi_hop_reasoning"), set()),
        # It stopped after the first step, which was right.
        (asked(HOPS, BOTH, answer="Cora Penn", category="multi_hop_reasoning"), set()),
        (asked(JOB, *NAMES, answer="Cora Penn", won=True, category="comparison"),
         {("job", "ledger", True), ("job", "atlas", False)}),
        (asked(JOB, *NAMES, answer="Cora Penn", category="comparison"),
         {("job", "ledger", False)}),
    ],
)  # fmt: skip
def test_the_end_of_an_episode_tells_which_archive_was_right(recorded, told):
    assert set(verdicts(reading(recorded))) == told


def test_a_wrong_card_is_a_cause_of_its_own():
    assert misled(reading(asked(AUTHOR, BOTH, answer="Ada Holt")))
    assert not misled(reading(asked(AUTHOR, BOTH, answer="fox")))
    assert not misled(reading(asked(AUTHOR, BOTH, answer="Cora Penn", won=True)))


def test_failures_and_successes_give_the_archive_and_a_wrong_rule_is_mended():
    lost = asked(AUTHOR, BOTH, answer="Ada Holt", task="1")
    won = asked(AUTHOR, BOTH, answer="Cora Penn", won=True, task="2")
    added = {item["title"]: item for item in evolve([lost, won])["add"]}
    rule = "Search in atlas when the question says author."
    assert added["Find author"]["principle"] == rule
    assert added["Find author"]["category"] == "general"
    wrong = Skill(
        id="dyn_001",
        title="Find author",
        principle=rule.replace("atlas", "ledger"),
        category="general",
    )
    refined = evolve([lost, won], [wrong])["refine"]
    assert [item["principle"] for item in refined if item["id"] == "dyn_001"] == [rule]
    assert not any(item.get("title") == "Find author" for item in evolve([lost])["add"])


@pytest.mark.parametrize(
    ("known", "refined"),
    [("atlas", False), ("atlas or ledger", False), ("ledger or atlas", True), ("ledger", True)],
)
def test_a_rule_is_mended_where_the_first_archive_that_it_names_is_wrong(known, refined):
    lost = asked(AUTHOR, BOTH, answer="Ada Holt", task="1")
    won = asked(AUTHOR, BOTH, answer="Cora Penn", won=True, task="2")
    rule = f"Search in {known} when the question says author."
    skill = Skill(id="dyn_001", title="Find author", principle=rule, category="general")
    answers = [item["id"] for item in evolve([lost, won], [skill])["refine"]]
    assert ("dyn_001" in answers) == refined
    again = [asked(AUTHOR, BOTH, answer="Ada Holt", task="1") for _ in range(2)]
    assert "dyn_001" not in [item["id"] for item in evolve(again, [skill])["refine"]]


def test_what_all_categories_need_is_proposed_once():
    lost = [
        asked(AUTHOR, BOTH, answer="Ada Holt", task="1"),
        asked(AUTHOR, BOTH, answer="Ada Holt", task="2", category="entity_attribute_lookup"),
    ]
    won = asked(AUTHOR, BOTH, answer="Cora Penn", won=True, task="3")
    titles = [item["title"] for item in evolve([*lost, won])["add"]]
    assert titles.count("Find author") == 1


def test_a_thought_names_an_archive_only_where_a_rule_does():
    plain = asked(AUTHOR, search("Wild Song atlas", SONG_ATLAS), answer="Cora Penn", won=True)
    assert thoughts(plain) == ["Find author.", "Wild Song: author Cora Penn."]
    hop = asked(HOPS, BOTH, HOP, answer="Old Ford", won=True)
    assert thoughts(hop) == [
        "Find author.",
        "Wild Song: author Cora Penn. Find born.",
        "Wild Song: author Cora Penn. Cora Penn: born in Old Ford.",
    ]


@pytest.mark.parametrize(
    ("goal", "answer", "concluded"),
    [
        (JOB, "Cora Penn", "I need baker one."),
        (JOB.replace("baker", "clerk"), "Leo Reed", "I need clerk two."),
    ],
)
def test_of_two_names_the_thought_says_what_both_cards_have_and_then_the_one_that_is_wanted(
    goal, answer, concluded
):
    found = asked(goal, *NAMES, answer=answer, won=True, category="comparison")
    assert thoughts(found) == [
        "Find job.",
        "Cora Penn: job baker. Find job.",
        f"Found one baker one, two clerk two. {concluded}",
    ]


def _found(archives, count, told=ALL):
    """Archives that the teacher names after `count` episodes of a demonstrator."""
    suite = SearchSuite(EnvConfig(name="search", max_steps=4))
    environment, shown = suite.make(), []
    for number, task in enumerate(suite.tasks("train")[:count]):
        pupil, seen = Pupil(task.goal, told, archives), []

        def act(observation, pupil=pupil, seen=seen):
            action = pupil.act(observation).action
            seen.append((observation.text, action))
            return action

        won, _ = play(environment, task, act)
        results = [text for text, _ in seen[1:]] + [""]
        script = [(action, result) for (_, action), result in zip(seen, results, strict=True)]
        shown.append(
            episode(
                task.goal,
                script,
                category=task.category,
                opening=seen[0][0],
                won=won,
                task=f"{number:04d}",
            )
        )
    skills = ask(prompts.general_skills(shown, count=40), "distill_general")
    rules = [item["principle"] for item in skills if item["title"].startswith("Find ")]
    return {rule.rstrip(".").split()[-1]: rule for rule in rules}


def test_it_finds_the_custom_in_many_episodes_and_less_in_few():
    right = right_about(CUSTOM)

    def named(rules):
        return sum(f" {right[topic]} " in rule for topic, rule in rules.items())

    def exact(rules):
        return sum(f"Search in {right[topic]} when" in rule for topic, rule in rules.items())

    experts, strangers = _found(right, 100), _found({}, 100)
    assert len(experts) == len(right) == named(experts)
    assert exact(experts) >= 14
    assert len(right) > named(strangers) >= 10  # of mere luck some are found, and some wrongly
    hasty = _found(right, 100, told=(READ, COMPARE))  # stops after one of two steps
    assert exact(hasty) >= 12
    few = _found({}, 8)
    assert named(few) < named(strangers)
    assert exact(few) < 6
