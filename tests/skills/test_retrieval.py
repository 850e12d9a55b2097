import dataclasses

import pytest

from skillrl.config.settings import SkillRetrievalConfig
from skillrl.errors import SkillRLError
from skillrl.skills.bank import SkillBank
from skillrl.skills.proposals import Refinement
from skillrl.skills.retrieval import (
    Retrieved,
    Retriever,
    for_prompt,
    get_retrieval,
    query_text,
    register_retrieval,
    retrieve,
)
from skillrl.types import GENERAL, Exams, Task
from tests.skills.builders import CLEAN, HEAT, Measured, TableEmbedder, bank_of

TASK = Task(id="train/1", split="train", category=HEAT, goal="put a hot egg in fridge")


def test_equation_4_category_threshold_and_top_k():
    bank = bank_of(
        ("a", 0.30, HEAT, "skill"),
        ("b", 0.50, HEAT, "skill"),
        ("c", 0.90, CLEAN, "skill"),
        ("d", 0.80, HEAT, "skill"),
        ("e", 0.60, HEAT, "skill"),
        ("f", 0.40, HEAT, "skill"),
    )
    found = retrieve(bank, TASK, embedder=TableEmbedder(), top_k=2, similarity_threshold=0.4)
    assert [s.id for s in found.task_specific] == ["d", "e"]
    found = retrieve(bank, TASK, embedder=TableEmbedder(), top_k=9, similarity_threshold=0.45)
    assert [s.id for s in found.task_specific] == ["d", "e", "b"]
    assert [s.id for s in found.skills] == ["d", "e", "b"]
    none = retrieve(bank, TASK, embedder=TableEmbedder(), top_k=0, similarity_threshold=0.0)
    assert none.task_specific == ()


def test_budgets_of_general_skills_and_mistakes():
    bank = bank_of(
        ("g1", 0.1, GENERAL, "skill"),
        ("g2", 0.5, GENERAL, "skill"),
        ("g3", 0.5, GENERAL, "skill"),
        ("m1", 0.2, GENERAL, "mistake"),
        ("m2", 0.9, CLEAN, "mistake"),
        ("m3", 0.3, HEAT, "mistake"),
    )
    options = {"embedder": TableEmbedder(), "similarity_threshold": 0.4}
    found = retrieve(bank, TASK, general_top_k=3, mistakes_top_k=5, **options)
    assert [s.id for s in found.general] == ["g1", "g2", "g3"]  # all fit: bank order
    assert [s.id for s in found.mistakes] == ["m1", "m3"]
    found = retrieve(bank, TASK, general_top_k=2, mistakes_top_k=1, **options)
    assert [s.id for s in found.general] == ["g2", "g3"]  # a tie keeps bank order
    assert [s.id for s in found.mistakes] == ["m3"]
    found = retrieve(bank, TASK, general_top_k=0, mistakes_top_k=0, **options)
    assert found.skills == ()


def test_embeddings_are_kept_by_text():
    embedder = TableEmbedder()
    bank = bank_of(("a", 0.5, HEAT, "skill"), ("b", 0.6, HEAT, "skill"))
    for _ in range(3):
        retrieve(bank, TASK, embedder=embedder)
    assert len(embedder.asked) == 3
    changed = bank.apply([Refinement(target="a", principle="0.7")], step=1)
    retrieve(changed, TASK, embedder=embedder)
    assert embedder.asked[3:] == ["a. 0.7"]


def test_an_empty_bank_needs_no_embedder():
    embedder = TableEmbedder()
    assert retrieve(SkillBank(), TASK, embedder=embedder).skills == ()
    assert embedder.asked == []  # a base policy is evaluated without a key for embeddings


def test_the_query_has_the_category_in_words():
    assert query_text(TASK).startswith("pick heat then place in recep task: ")


@register_retrieval("newest", uses_embedder=False)
def newest(bank, task, *, embedder, top_k, **budgets):
    return Retrieved(task_specific=bank.select(category=task.category)[::-1][:top_k])


def test_a_rule_of_ones_own_is_called_by_its_name():
    bank = bank_of(*((name, 0.5, HEAT, "skill") for name in "abc"))
    settings = SkillRetrievalConfig(order="newest", top_k=2)
    shown = for_prompt(bank, TASK, embedder=TableEmbedder(), settings=settings)
    assert [skill.id for skill in shown] == ["c", "b"]
    assert not get_retrieval("newest").uses_embedder
    with pytest.raises(SkillRLError, match="'newest' is registered twice"):
        register_retrieval("newest")(lambda bank, task, **budgets: Retrieved())


def test_a_retriever_keeps_to_the_tokens_that_skills_may_take():
    bank = bank_of(*((name, 0.5, HEAT, "skill") for name in "abcd"))
    retrieve = Retriever(TableEmbedder(), SkillRetrievalConfig(max_tokens=5))
    assert [skill.id for skill in retrieve(bank, TASK)] == ["a", "b"]  # "a. 0.5" is two tokens
    utility = lambda bank: {"a": Measured(-0.1), "d": Measured(0.1)}  # noqa: E731
    useful = dataclasses.replace(retrieve, utility=utility)
    assert [skill.id for skill in useful(bank, TASK)] == ["b", "d"]
    exact = dataclasses.replace(useful, count_tokens=lambda skills: 5 * len(skills))
    assert [skill.id for skill in exact(bank, TASK)] == ["d"]
    free = dataclasses.replace(exact, settings=SkillRetrievalConfig())
    assert [skill.id for skill in free(bank, TASK)] == list("abcd")


def test_an_unknown_rule_is_an_error_that_names_the_known_ones():
    with pytest.raises(
        SkillRLError, match=r"order is 'random'.*: flat, newest, paper, similar, stored, useful\."
    ):
        retrieve(SkillBank(), TASK, embedder=TableEmbedder(), order="random")


def measured(bank, **gains):
    """The bank with 40 pairs of these skills; 20 differ."""
    return bank.record_exams(
        {name: Exams(pairs=40, gain=gain, squares=20) for name, gain in gains.items()}
    )


def test_useful_prefers_what_is_known_to_help_and_puts_last_what_hurts():
    bank = bank_of(
        *((name, s, HEAT, "skill") for name, s in zip("abcd", (0.9, 0.8, 0.7, 0.6), strict=True)),
        ("e", 0.1, HEAT, "skill"),
        ("g1", 0.1, GENERAL, "skill"),
        ("g2", 0.2, GENERAL, "skill"),
        ("m1", 0.1, GENERAL, "mistake"),
        ("m2", 0.9, HEAT, "mistake"),
    )
    options = {"embedder": TableEmbedder(), "similarity_threshold": 0.4}
    same = {"top_k": 3, "general_top_k": 2, "mistakes_top_k": 1, **options}
    plain = retrieve(bank, TASK, order="useful", **same)
    assert plain == retrieve(bank, TASK, order="similar", **same)  # while nothing is measured
    assert [s.id for s in plain.skills] == ["g1", "g2", "a", "b", "c", "m2"]
    known = measured(bank, a=-18, b=1, c=0, d=18, e=18, g2=18, m1=18)
    found = retrieve(known, TASK, order="useful", **same)
    assert [s.id for s in found.general] == ["g2", "g1"]
    assert [s.id for s in found.task_specific] == ["d", "b", "c"]  # e is not similar enough
    assert [s.id for s in found.mistakes] == ["m1"]
    found = retrieve(known, TASK, order="useful", **{**same, "top_k": 4})
    assert [s.id for s in found.task_specific] == ["d", "b", "c", "a"]
    assert retrieve(known, TASK, order="useful", **{**same, "top_k": 0}).task_specific == ()


def test_only_similar_asks_the_embedder():
    assert get_retrieval("similar").uses_embedder
    embedder = TableEmbedder()
    bank = bank_of(("a", 0.1, HEAT, "skill"), ("b", 0.9, HEAT, "skill"))
    found = retrieve(bank, TASK, embedder=embedder, top_k=1, order="stored")
    assert (found.skills, embedder.asked) == (bank.skills[:1], [])
