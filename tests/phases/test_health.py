"""Skipped updates end a phase, and divergence is said and recorded; by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillrl.errors import Alarmed, SkillRLError
from skillrl.phases.health import Skips, Watch, alarms, line
from skillrl.training.finite import all_finite, check_finite


def rl(*rows, **every):
    return [{"phase": "rl", "step": at, **every, **row} for at, row in enumerate(rows, 1)]


def test_skips_in_a_row_end_a_phase_and_others_do_not():
    skips = Skips(3, "rl.max_skipped_updates")
    for skipped in (1.0, 1.0, 0.0, 1.0, 1.0, 0.0):
        skips.count({"skipped": skipped})
        skips.check("unused")
    for _ in range(3):
        assert not skips.too_many
        skips.count({"skipped": 1.0})
    assert skips.too_many
    skips.count({"skipped": 0.0})  # the rest of an iteration does not undo it
    with pytest.raises(SkillRLError, match=r"3 updates in a row.*max_skipped_updates=3.*at 7"):
        skips.check("The last good state is at 7.")


def test_an_alarm_is_raised_where_a_stretch_begins_with_what_led_there():
    rows = rl({"kl": 0.1}, {"kl": 2.0}, {"kl": 1e8}, {"kl": None}, {"kl": 0.3}, {"kl": 11.0})
    first, second = alarms("rl", rows)
    assert first["phase"], first["metric"] == ("rl", "kl")
    assert (first["step"], first["history"]) == (3, [0.1, 2.0, 1e8])
    assert (second["step"], second["history"]) == (6, [2.0, 1e8, None, 0.3, 11.0])
    assert "rl step 6: the policy has left its reference" in line(second)
    assert "latest last: 2, 1e+08, not finite, 0.3, 11)" in line(second)


def test_a_run_that_learns_raises_none():
    good = {"kl": 0.02, "invalid": 0.01, "zero_variance_groups": 0.5, "success": 0.4, "skipped": 0}
    assert alarms("rl", rl(*[good] * 30)) == []
    solved = good | {"zero_variance_groups": 1.0, "success": 1.0}
    assert alarms("rl", rl(*[solved] * 30)) == []
    assert alarms("rl", []) == alarms("sft", []) == []


@pytest.mark.parametrize(
    ("metric", "row", "step"),
    [
        ("invalid", {"invalid": 1.0, "success": 0.0}, 3),
        ("zero_variance_groups", {"zero_variance_groups": 1.0, "success": 0.0}, 10),
        ("skipped", {"skipped": 1.0}, 1),
    ],
)
def test_collapse_is_one_alarm(metric, row, step):
    (found,) = alarms("rl", rl(*[row] * 20))
    assert (found["metric"], found["step"]) == (metric, step)


def test_a_loss_that_rises_or_is_none():
    rising = [{"phase": "sft", "step": at, "loss": 1.0 + 0.2 * at} for at in range(20)]
    (found,) = alarms("sft", rising)
    assert found["step"] == 5  # the mean of the last five is 1.6
    small = (0.036, 0.069, 0.134, 0.079, 0.133, 0.049)  # of a mock run: batches differ, no more
    assert not alarms(
        "sft", [{"phase": "sft", "step": at, "loss": x} for at, x in enumerate(small)]
    )
    (found,) = alarms("sft", [{"phase": "sft", "step": 1, "loss": None}])
    assert found["meaning"] == "the loss is not finite"


def test_each_alarm_is_one_warning(caplog):
    rows = rl({"kl": 20.0}, {"kl": 30.0}, {"kl": 0.1}, {"kl": 40.0})
    watch = Watch("rl", rows[:1])  # an earlier session has said the first
    for row in rows[1:]:
        watch.look(row)
    assert caplog.messages == ["alarm: " + line(alarms("rl", rows)[1])]


def test_what_is_not_finite_is_named():
    tree = {"b": jnp.ones(3), "a": [jnp.zeros((2, 2), jnp.bfloat16), jnp.arange(3)]}
    check_finite(tree, "x")
    check_finite({"only": jnp.arange(3)}, "x")
    assert bool(jax.jit(all_finite)(tree))
    for value in (np.nan, np.inf, -np.inf):
        broken = tree | {"b": tree["b"].at[1].set(value)}
        assert not bool(jax.jit(all_finite)(broken))
        with pytest.raises(SkillRLError, match=r"^the policy b holds numbers that are not finite"):
            check_finite(broken, "the policy")
    both = jax.tree.map(lambda x: x * jnp.inf if jnp.issubdtype(x.dtype, jnp.inexact) else x, tree)
    with pytest.raises(SkillRLError, match=r"a/0 \(and 1 other arrays\)"):
        check_finite(both, "x")


@pytest.mark.parametrize(
    ("metric", "usual", "later", "success", "meaning"),
    [
        ("surprise", 0.4, 0.019, 0.5, "collapsed"),
        ("surprise", 0.4, 2.01, 0.5, "exploded"),
        ("response_tokens", 40.0, 161.0, 0.5, "long"),
        ("response_tokens", 40.0, 9.9, 0.5, "short"),
        ("surprise", 0.4, 0.021, 0.5, None),
        ("surprise", 0.4, 0.0, 0.9, None),  # solved
        ("surprise", 0.1, 0.99, 0.5, None),  # ten times as much, and still little
        ("response_tokens", 40.0, 159.0, 0.5, None),
        ("response_tokens", 40.0, None, 0.5, None),
        ("response_tokens", 40.0, 0.0, 0.5, None),  # nothing was left to train on
        ("response_tokens", 0.0, 40.0, 0.5, None),
    ],
)
def test_what_becomes_very_different_is_an_alarm(metric, usual, later, success, meaning):
    rows = rl(*[{metric: usual}] * 3, *[{metric: later}] * 9, success=success)
    found = alarms("rl", rows)
    if meaning is None:
        assert found == []
        return
    (alarm,) = found
    assert (alarm["metric"], alarm["step"]) == (metric, 8)  # five of them
    assert meaning in alarm["meaning"]


def test_an_alarm_ends_the_phase_only_where_that_is_asked_for():
    patient, strict = Watch("rl"), Watch("rl", ends_phase=True)
    for row in rl({"kl": 0.1}, {"kl": 9.0}):
        strict.check("unused")
        assert not strict.ends
        for watch in (patient, strict):
            watch.look(row)
    patient.check("unused")
    with pytest.raises(Alarmed, match=r"rl step 2: .*left its reference.* Saved at 2\. logging"):
        strict.check("Saved at 2.")
    assert Alarmed.exit_status == 3
    began = rl({"kl": 0.1}, {"kl": 9.0})
    again = Watch("rl", began, ends_phase=True)  # the same command: it was not overruled
    with pytest.raises(Alarmed, match="rl step 2"):
        again.check("unused")
    Watch("rl", [*began, *rl({"kl": 0.2})], ends_phase=True).check("unused")
    skips = Watch("rl", ends_phase=True)
    skips.look({"step": 1, "skipped": 1.0})
    skips.check("max_skipped_updates says how many are too many")
