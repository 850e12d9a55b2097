"""The registered suite on official files: tasks, splits, observations, rewards, errors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from webshop_recordings import FOLDER, recorded

from skillrl.config.presets import resolve
from skillrl.config.settings import Config, EnvConfig, WebshopConfig
from skillrl.envs.base import SPLITS, Environment, Suite, make_suite
from skillrl.errors import SkillRLError
from skillrl.types import Task


def _suite(*, max_steps: int = 15, data_dir: Path = FOLDER / "catalogue", **settings: Any) -> Suite:
    config = EnvConfig(
        name="webshop",
        data_dir=str(data_dir),
        max_steps=max_steps,
        webshop=WebshopConfig(**settings),
    )
    return make_suite("webshop", config)


@pytest.fixture(scope="module")
def suite() -> Suite:
    return _suite()


def test_follows_the_protocol(suite: Suite) -> None:
    assert isinstance(suite, Suite)
    assert isinstance(suite.make(), Environment)
    assert suite.simulated == ""
    with pytest.raises(SkillRLError, match="'test'"):
        suite.tasks("test")
    with pytest.raises(SkillRLError, match="max_steps=0"):
        _suite(max_steps=0)
    with pytest.raises(SkillRLError, match=r"Set env\.data_dir"):
        make_suite("webshop", EnvConfig(webshop=WebshopConfig(products="items_shuffle.json")))


def test_the_preset_has_the_released_settings() -> None:
    config = resolve(mock=False, config_path="webshop_qwen2.5_7b").config
    assert (config.env.name, config.env.max_steps, config.agent.history_length) == (
        "webshop",
        15,
        2,
    )
    assert config.env.webshop == WebshopConfig(split="skillrl", goal_seed=0)
    assert (config.rl.batch_size // config.rl.group_size, config.rl.group_size) == (16, 8)
    assert config.checkpoint.interval == 10
    assert config.evaluation.temperature == 0.0


def test_tasks_are_stable_and_carry_their_goal(suite: Suite) -> None:
    again = _suite()
    for split in SPLITS:
        tasks = list(suite.tasks(split))
        assert tasks == list(again.tasks(split))
        assert tasks[:3] == suite.tasks(split)[:3]
        for task in tasks:
            assert task.id == f"{split}/goal-{task.payload['goal']:05d}"
            assert task.category in suite.categories
            assert json.loads(json.dumps(task.payload)) == task.payload


def test_categories_agree_with_the_authored_kinds() -> None:
    kinds = json.loads((FOLDER / "catalogue" / "kinds.json").read_text())
    suite = _suite(goals="human")
    tasks = [task for split in SPLITS for task in suite.tasks(split)]
    goals = recorded("goals")["human"]
    price = re.compile(", and price lower than .*")  # limits differ: they are another seed's
    asins = {price.sub("", goal["instruction_text"]): goal["asin"] for goal in goals}
    ordinary = [task for task in tasks if "oddity" not in task.goal]
    assert len(ordinary) > 120
    for task in ordinary:
        assert task.category == kinds[asins[price.sub("", task.goal)]], task.goal


def test_price_limits_and_order_come_from_the_seed(suite: Suite) -> None:
    def goals(seed: int) -> list[str]:
        made = _suite(goal_seed=seed)
        return [task.goal for split in SPLITS for task in made.tasks(split)]

    ours = [task.goal for split in SPLITS for task in suite.tasks(split)]
    assert goals(233) == ours
    assert goals(234) != ours


def _play(suite: Suite, task: Task, actions: list[str]) -> list[Any]:
    environment = suite.make()
    environment.reset(task)
    return [environment.step(action) for action in actions]


def _task(suite: Suite, text: str) -> Task:
    tasks = [task for split in SPLITS for task in suite.tasks(split)]
    return next(task for task in tasks if text in task.goal)


def test_observations_leave_out_the_goal(suite: Suite) -> None:
    task = _task(suite, "oddity robe shared values")
    start = suite.make().reset(task)
    assert (start.text, start.admissible) == ("'Search'", ("search[<your query>]",))
    found, opened, chosen, described = (
        result.observation
        for result in _play(
            suite,
            task,
            [
                "search[oddity robe shared]",
                "click[s000000004]",
                "click[slim]",
                "click[description]",
            ],
        )
    )
    head = "'Back to Search' [SEP] 'Page 1 (Total results: 22)' [SEP] 'Next >' [SEP] 'S000000004'"
    assert found.text.startswith(head)
    assert found.admissible[:3] == ("click[back to search]", "click[next >]", "click[s000000004]")
    assert opened.text == (
        "'Back to Search' [SEP] '< Prev' [SEP] 'size' [SEP] 'one size' [SEP] 'small' [SEP] 'fit' "
        "[SEP] 'one size' [SEP] 'slim' [SEP] 'Oddity Robe Shared Values' [SEP] 'Price: $24.0' "
        "[SEP] 'Rating: N.A.' [SEP] 'Description' [SEP] 'Features' [SEP] 'Reviews' [SEP] 'Buy Now'"
    )
    assert opened.admissible == tuple(
        f"click[{text}]"
        for text in (
            "back to search",
            "< prev",
            "description",
            "features",
            "reviews",
            "buy now",
            "one size",
            "small",
            "slim",
        )
    )
    assert chosen.text == opened.text  # in this mode a choice does not show
    assert chosen.admissible == opened.admissible[:-1]  # but it is not offered again
    assert described.text == "'Back to Search' [SEP] '< Prev' [SEP] 'Plain words.'"


def test_another_value_can_be_chosen_and_the_first_is_then_offered_again(suite: Suite) -> None:
    task = _task(suite, "oddity robe shared values")
    *_, one, other, again = _play(
        suite,
        task,
        ["search[oddity robe shared]", "click[s000000004]", "click[slim]", "click[one size]",
         "click[one size]"],
    )  # fmt: skip
    assert "click[slim]" not in one.observation.admissible
    assert "click[slim]" in other.observation.admissible
    assert "click[one size]" not in other.observation.admissible
    assert again.observation == other.observation  # what is not offered is answered all the same


def test_rich_observations_show_choices() -> None:
    rich = _suite(observation="text_rich")
    task = _task(rich, "oddity robe shared values")
    actions = ["search[oddity robe shared]", "click[s000000004]", "click[slim]"]
    text = _play(rich, task, actions)[-1].observation.text
    assert text.startswith("You have clicked slim.\n[button] Back to Search [button_]\n")
    assert "  [clicked button] slim [clicked button_]\n" in text
    assert task.goal not in text


def test_what_does_nothing_is_not_offered(suite: Suite) -> None:
    task = _task(suite, "oddity cabinet with tabs")
    actions = ["search[oddity cabinet tabs]", "click[s000000001]"]
    offers = _play(suite, task, actions)[-1].observation.admissible
    assert "click[attributes]" in offers
    assert "click[search]" not in offers


def test_a_perfect_purchase_wins_and_ends(suite: Suite) -> None:
    task = _task(suite, "oddity robe shared values with fit: slim, and size: small")
    environment = suite.make()
    environment.reset(task)
    for action in ("search[oddity robe]", "click[s000000004]", "click[slim]", "click[small]"):
        result = environment.step(action)
        assert (result.done, result.won, result.reward, result.score) == (False, False, 0.0, 0.0)
    result = environment.step("click[buy now]")
    assert (result.done, result.won, result.reward, result.score) == (True, True, 1.0, 1.0)
    assert result.observation.text.startswith("Thank you for shopping with us! [SEP] Your code:")
    assert result.observation.admissible == ()
    with pytest.raises(SkillRLError, match="reset"):
        environment.step("search[more]")


def test_a_partial_purchase_scores_without_winning(suite: Suite) -> None:
    task = _task(suite, "oddity robe shared values with fit: slim, and size: small")
    result = _play(suite, task, ["search[robe]", "click[s000000004]", "click[buy now]"])[-1]
    assert (result.done, result.won) == (True, False)
    assert result.score == result.reward == 3 / 5  # two attributes, the price, no option of two


def test_the_step_limit_ends_an_episode_without_score(suite: Suite) -> None:
    environment = _suite(max_steps=2).make()
    environment.reset(suite.tasks("train")[0])
    assert not environment.step("search[lamp]").done
    result = environment.step("nonsense")
    assert (result.done, result.won, result.score) == (True, False, 0.0)
    environment.close()
    environment.close()


def test_a_task_of_another_shop_is_refused(suite: Suite) -> None:
    task = suite.tasks("train")[0]
    environment = suite.make()
    with pytest.raises(SkillRLError, match="goal_seed"):
        environment.reset(
            Task(
                id=task.id,
                split=task.split,
                category=task.category,
                goal="another goal",
                payload=task.payload,
            )
        )
    with pytest.raises(SkillRLError, match="names no goal"):
        environment.reset(
            Task(
                id=task.id,
                split=task.split,
                category=task.category,
                goal=task.goal,
                payload={"goal": 10**6},
            )
        )
    with pytest.raises(SkillRLError, match="names no goal"):
        environment.reset(
            Task(id=task.id, split=task.split, category=task.category, goal=task.goal, payload={})
        )


@pytest.mark.parametrize("layout", ["skillrl", "original"])
def test_official_splits_need_enough_goals(layout: str) -> None:
    assert len(recorded("goals")["human"]) < 500
    with pytest.raises(SkillRLError, match="split=products"):
        _suite(goals="human", split=layout)


def test_settings_are_options_of_a_run() -> None:
    config = Config.from_dict({"env": {"webshop": {"goals": "human", "split": "original"}}})
    assert config.env.webshop.goals == "human"
    with pytest.raises(SkillRLError, match=r"env\.webshop\.nouns"):
        Config.from_dict({"env": {"webshop": {"nouns": "nltk"}}})
