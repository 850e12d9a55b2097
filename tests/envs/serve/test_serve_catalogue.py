"""Numbers of tasks: every task one, every number one task."""

from __future__ import annotations

import pytest

from skillrl.envs.serve.catalogue import TaskCatalogue
from skillrl.errors import SkillRLError
from tests.conftest import ToySuite


class Uneven(ToySuite):
    """Splits of 4, 0 and 2 tasks."""

    def tasks(self, split):
        return super().tasks(split)[: {"train": 4, "valid_seen": 0, "valid_unseen": 2}[split]]


def test_splits_follow_each_other():
    catalogue = TaskCatalogue(Uneven(None))
    assert len(catalogue) == 6
    assert catalogue.splits == {"train": (0, 4), "valid_unseen": (4, 2)}
    expected = [f"train/000{i}" for i in range(4)] + ["valid_unseen/0000", "valid_unseen/0001"]
    assert [catalogue.task(number).id for number in range(6)] == expected
    for split in catalogue.splits:
        for number, name, category, goal in catalogue.entries(split)["tasks"]:
            task = catalogue.task(number)
            assert (name, category, goal) == (task.id, task.category, task.goal)


@pytest.mark.parametrize("number", [-1, 6])
def test_numbers_that_there_are_not(number):
    with pytest.raises(LookupError, match="from 0 to 5"):
        TaskCatalogue(Uneven(None)).task(number)


def test_splits_that_there_are_not():
    for split in ("valid_seen", "test"):
        with pytest.raises(LookupError, match="train, valid_unseen"):
            TaskCatalogue(Uneven(None)).entries(split)


def test_a_suite_without_tasks():
    class Empty(ToySuite):
        def tasks(self, split):
            raise SkillRLError(f"no split {split}")

    with pytest.raises(SkillRLError, match="no tasks in any split"):
        TaskCatalogue(Empty(None))
