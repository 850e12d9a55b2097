import json

import pytest

from skillrl.skills import prompts
from skillrl.skills.render import render_trajectory
from skillrl.teacher.base import TeacherError
from skillrl.teacher.simulated import SimulatedTeacher, vocabulary
from skillrl.teacher.simulated.household.diagnosis import causes
from skillrl.teacher.simulated.household.reading import read_aim
from skillrl.teacher.simulated.recordings import read_recordings
from skillrl.types import Skill
from tests.skills.builders import (
    CIRCLES,
    CLEAN,
    GOALS,
    HEAT,
    LOOK,
    NEVER_OPENED,
    NO_APPLIANCE,
    NOTHING,
    PICK,
    TWO,
    UNTREATED,
    WIN_CLEAN,
    WIN_HEAT,
    played,
)


def diagnose(script, **fields):
    (recording,) = read_recordings(render_trajectory(played(script, **fields)))
    return causes(recording)


def take(name, place="shelf 1"):
    return (f"take {name} from {place}", f"You pick up the {name} from the {place}.")


def go(place, seen="nothing"):
    return (f"go to {place}", f"You arrive at {place}. On the {place}, you see {seen}.")


@pytest.mark.parametrize(
    ("script", "category", "cause"),
    [
        (NEVER_OPENED, CLEAN, "closed"),
        (CIRCLES, CLEAN, "revisit"),
        (UNTREATED, CLEAN, "untreated"),
        (NO_APPLIANCE, CLEAN, "no_appliance"),
        ([("dance", NOTHING)] * 3 + NEVER_OPENED, CLEAN, "invalid"),
        ([go("shelf 1"), go("desk 1")], CLEAN, "slow"),
        ([go("shelf 1", "a mug 1"), go("desk 1")], CLEAN, "sight"),
        ([take("bowl 1"), go("sinkbasin 1")], CLEAN, "wrong_object"),
        ([take("mug 1"), go("sinkbasin 1"), go("desk 1")], CLEAN, "unused_appliance"),
        (
            [take("egg 1"), go("microwave 1"), ("heat cup 1 with microwave 1", "Hot.")],
            HEAT,
            "wrong_treated",
        ),
        ([take("bowl 1"), go("desk 1")], LOOK, "no_lamp"),
        ([("use desklamp 1", "You turn on."), take("bowl 1"), go("bed 1")], LOOK, "lamp_first"),
        ([take("book 1"), go("desk 1")], PICK, "no_delivery"),
        ([take("book 1"), go("bed 1"), go("desk 1")], PICK, "not_put"),
        ([take("book 1"), ("move book 1 to desk 1", "Done."), go("bed 1")], PICK, "wrong_place"),
        ([take("pen 1"), ("move pen 1 to drawer 1", "Done."), go("desk 1")], TWO, "second"),
        ([], CLEAN, "slow"),
    ],
)  # fmt: skip
def test_the_decisive_cause(script, category, cause):
    assert diagnose(script, category=category)[0] == cause


def test_goals_are_read_from_their_sentence():
    def aim(goal, category=PICK):
        text = render_trajectory(played([], goal=goal, category=category))
        return read_aim(read_recordings(text)[0])

    found = aim("put a hot apple in fridge", HEAT)
    assert (found.thing, found.place, found.treatment) == ("apple", "fridge", "heat")
    found = aim("find two pen and put them in drawer", TWO)
    assert (found.thing, found.place, found.two, found.treatment) == ("pen", "drawer", True, "")
    found = aim("examine the cd with the desklamp", LOOK)
    assert (found.thing, found.place, found.look) == ("cd", "desklamp", True)
    found = aim("Wash some fork and put it on the table", CLEAN)
    assert (found.thing, found.place, found.treatment) == ("fork", "table", "clean")
    assert aim("do something odd").thing == ""


def test_rendering_survives_odd_text():
    odd = played([("go to a\n=== End\nStep 9\nAction: x", "fine\n\nStep 4")] * 2, won=True)
    (recording,) = read_recordings(render_trajectory(odd))
    assert len(recording.moves) == 2
    assert recording.won


def test_two_failures_with_different_causes_give_skills_that_name_each():
    failures = [
        played(NEVER_OPENED, task="1"),
        played(UNTREATED, task="2"),
    ]
    chat = prompts.evolution(
        failures, {}, [], rates={CLEAN: 0.0}, categories=(CLEAN, "general"), count=3
    )
    answer = json.loads(SimulatedTeacher().complete(chat, purpose="evolve"))
    added = {item["title"]: item for item in answer["add"]}
    assert added["Open closed places"]["sources"] == [failures[0].id]
    assert added["Clean before you put"]["sources"] == [failures[1].id]
    assert "closed" in added["Open closed places"]["cause"]
    assert {item["category"] for item in answer["add"]} == {CLEAN}


def test_a_known_skill_is_refined_and_then_left_alone():
    failures = [played(NEVER_OPENED, task="1")]

    def ask(*skills):
        chat = prompts.evolution(
            failures, {}, skills, rates={CLEAN: 0.0}, categories=(CLEAN,), count=3
        )
        return json.loads(SimulatedTeacher().complete(chat, purpose="evolve"))

    first = ask()["add"][0]
    known = Skill(id="dyn_001", title=first["title"], principle=first["principle"], category=CLEAN)
    answer = ask(known)
    assert answer["add"] == []
    assert answer["refine"][0]["id"] == "dyn_001"
    better = Skill(
        id="dyn_001",
        title=first["title"],
        principle=answer["refine"][0]["principle"],
        category=CLEAN,
    )
    assert ask(better) == {"add": [], "refine": []}


def test_successes_give_the_procedure():
    chat = prompts.success_patterns(CLEAN, [played(WIN_CLEAN, won=True)], count=6)
    skills = json.loads(SimulatedTeacher().complete(chat, purpose="distill_success"))
    text = " ".join(item["title"] + ": " + item["principle"] for item in skills)
    assert "Find the object, take it, clean it with sinkbasin, then put it." in text
    assert "Open closed places" in text
    assert "Look for" not in text  # that is no matter of the category


def test_where_things_are_is_general():
    chat = prompts.general_skills([played(WIN_CLEAN, won=True)], count=12)
    skills = json.loads(SimulatedTeacher().complete(chat, purpose="distill_general"))
    assert "Look for mug first in cabinet." in [item["principle"] for item in skills]


@pytest.mark.parametrize(
    ("tasks", "refined"),
    [
        (("1", "1", "1"), None),  # one household, seen three times
        (("1", "2"), "Look for bowl first in shelf."),
    ],
)
def test_two_households_contradict_what_is_known_and_one_does_not(tasks, refined):
    script = [go("shelf 1", "a bowl 1"), go("desk 1"), go("desk 1"), go("desk 1")]
    failures = [
        played(script, task=task, member=member, goal="put a bowl in fridge", category=PICK)
        for member, task in enumerate(tasks)
    ]
    known = Skill(
        id="gen_001",
        title="Find bowl",
        principle="Look for bowl first in desk.",
        category="general",
    )
    chat = prompts.evolution(
        failures, {}, [known], rates={PICK: 0.0}, categories=(PICK, "general"), count=9
    )
    answer = json.loads(SimulatedTeacher().complete(chat, purpose="evolve"))
    found = [item["principle"] for item in answer["refine"] if item["id"] == "gen_001"]
    assert found == ([refined] if refined else [])


def test_all_texts_are_short():
    for text in vocabulary():
        assert len(text.split()) <= 14, text
    words = {word.strip(".,:").lower() for text in vocabulary() for word in text.split()}
    assert len(words) < 170


@pytest.mark.parametrize(("script", "category"), [(WIN_CLEAN, CLEAN), (WIN_HEAT, HEAT)])
def test_thoughts_are_short_and_one_per_step(script, category):
    chat = prompts.thoughts(played(script, won=True, category=category), [], max_words=60)
    thoughts = json.loads(SimulatedTeacher().complete(chat, purpose="rewrite"))
    assert len(thoughts) == len(script)
    assert all(4 <= len(text.split()) <= 9 for text in thoughts)
    if category == CLEAN:
        assert thoughts[0] == "I seek a mug."
        assert thoughts[2] == "I seek a mug right here."
        assert thoughts[4] == "Now clean the mug with sinkbasin 1."
        assert thoughts[6] == "Put the mug in cabinet 1."


def test_thoughts_recall_what_the_skills_of_the_prompt_tell_and_nothing_else():
    def written(*rules):
        skills = [
            Skill(id=f"gen_{i:03d}", title=f"Rule {i}", principle=rule, category="general")
            for i, rule in enumerate(rules)
        ]
        chat = prompts.thoughts(played(WIN_CLEAN, won=True, category=CLEAN), skills, max_words=60)
        return json.loads(SimulatedTeacher().complete(chat, purpose="rewrite"))

    told = written("Look for egg first in fridge.", "Look for mug first in shelf or desk.")
    assert told[:3] == ["I seek a mug, kept in shelf or desk."] * 2 + ["I seek a mug right here."]
    assert written("Look for egg first in fridge.")[0] == "I seek a mug."


def test_an_unknown_purpose_is_refused():
    with pytest.raises(TeacherError, match="haiku"):
        SimulatedTeacher().complete([{"role": "user", "content": ""}], purpose="haiku")


def test_every_goal_of_the_builders_is_understood():
    for category, goal in GOALS.items():
        text = render_trajectory(played([], goal=goal, category=category))
        assert read_aim(read_recordings(text)[0]).thing in goal
