"""The examples in docstrings give what they say."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    ("module", "at_least"),
    [
        ("skillrl.training.losses", 9),
        ("skillrl.training.advantages", 7),
        ("skillrl.training.masked", 3),
        ("skillrl.parallel.buckets", 3),
        # These have examples as soon as somebody writes them.
        ("skillrl.evaluation.intervals", 0),
        ("skillrl.skills.retrieval", 0),
    ],
)
def test_examples(module, at_least):
    found = doctest.testmod(importlib.import_module(module))
    assert found.failed == 0
    assert found.attempted >= at_least
