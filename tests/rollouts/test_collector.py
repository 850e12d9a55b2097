"""Many episodes against one engine: the order changes no result, and nobody waits in vain."""

import threading
import zlib

import pytest

from skillrl.agent.agent import SkillAgent, render_response
from skillrl.agent.prompt import PromptConfig
from skillrl.envs.alfworld.textworld import WorkerError
from skillrl.errors import DoesNotFit, EnvironmentLost, SkillRLError
from skillrl.inference.base import Generated, Sampling, Unanswered
from skillrl.rollouts.collector import LOST_IN_A_ROW, Job, collect
from skillrl.types import Observation, StepResult, Task

AGENT = SkillAgent(None, role="You act.", config=PromptConfig())
SAMPLING = Sampling(max_tokens=8)


class Says:
    """An answer to give in place of the right one."""

    def __init__(self, value):
        self.value = value


class Environment:
    """``payload["steps"]`` steps; what `suite.at` names for (task, step) happens there."""

    def __init__(self, suite):
        self.suite, self.closed, self.log = suite, 0, []

    def reset(self, task):
        self.task, self.step_number = task, 0
        said = self.suite.happen(task.id, 0)
        return said.value if isinstance(said, Says) else self._see("start")

    def step(self, action):
        self.step_number += 1
        said = self.suite.happen(self.task.id, self.step_number)
        if isinstance(said, Says):
            return said.value
        self.log.append(action)
        done = self.step_number == self.task.payload["steps"]
        return StepResult(
            observation=self._see(action),
            done=done,
            won=done and action == "left",
            reward=0.0,
            score=0.5,
        )

    def _see(self, what):
        return Observation(f"{self.task.id} after {what}", ("left", "right"))

    def close(self):
        self.closed += 1


class Suite:
    """Makes environments and remembers them; `at` maps (task id, step) to a function."""

    def __init__(self, at=None):
        self.at, self.made = at or {}, []

    def make(self):
        self.made.append(Environment(self))
        return self.made[-1]

    def happen(self, task, step):
        return self.at[task, step]() if (task, step) in self.at else None


class Engine:
    """A fake that answers from the request alone, taking at most `slots` from the back.

    It answers what it took last, so that others stay in hand for a while.
    """

    version = 0

    def __init__(self, slots=4):
        self.slots, self.calls, self.hand = slots, [], {}

    def submit(self, waiting, sampling):
        assert sampling is SAMPLING
        assert waiting
        room = self.slots - len(self.hand)
        taken = list(waiting)[-room:] if room else []
        self.hand |= {key: waiting[key] for key in taken}
        return taken

    def step(self):
        assert 0 < len(self.hand) <= self.slots
        self.calls.append(len(self.hand))
        ended = list(self.hand)[-2:]
        return {key: self._answer(self.hand.pop(key)) for key in ended}

    def reset(self):
        self.hand.clear()

    def _answer(self, request):
        number = zlib.crc32(repr((request.rng_address, request.text)).encode())
        text = render_response(f"because {number}", ("left", "right", "up")[number % 3])
        return Generated((number % 50,), (-0.5,), True, text)


def jobs(count, *, members=1):
    for number in range(count):
        task = Task(
            id=f"t{number}",
            split="train",
            category="pick",
            goal="win",
            payload={"steps": 1 + number % 4},
        )
        for member in range(members):

            def start(task=task, number=number, member=member):
                return AGENT.episode(
                    task, (), rng_address=lambda s: (3, 0, number, member, 0, s), member=member
                )

            yield Job(task=task, start=start, member=member)


def play(count=7, *, at=None, slots=4, members=1, **options):
    """Trajectories, and the suite and engine that made them."""
    suite, engine = Suite(at), Engine(slots)
    found = collect(
        jobs(count, members=members), suite=suite, engine=engine, sampling=SAMPLING, **options
    )
    return found, suite, engine


@pytest.mark.parametrize("workers", [0, 4])
def test_trajectories_come_in_the_order_of_the_jobs(workers):
    done = []
    found, _, _ = play(9, members=2, workers=workers, on_done=done.append)
    assert [(t.task.id, t.member) for t in found] == [
        (f"t{i}", m) for i in range(9) for m in (0, 1)
    ]
    assert [len(t.steps) for t in found[::2]] == [1 + i % 4 for i in range(9)]
    assert len(done) == len(found)
    assert {id(t) for t in done} == {id(t) for t in found}
    for trajectory in found:
        last = trajectory.steps[-1].action
        assert trajectory.won is (last == "left")
        assert trajectory.final == f"{trajectory.task.id} after {last}"


def test_workers_slots_and_width_change_no_trajectory():
    expected, _, _ = play(11, members=2)
    assert {s.invalid for t in expected for s in t.steps} > {""}  # some actions are not offered
    for options in (
        {"workers": 4},
        {"workers": 1, "slots": 2},
        {"slots": 1},
        {"slots": 64},
        {"width": 1},
        {"width": 3, "workers": 4},
    ):
        assert play(11, members=2, **options)[0] == expected, options


def test_no_jobs():
    found, suite, engine = play(0)
    assert found == suite.made == engine.calls == []


def test_jobs_start_lazily_and_at_most_width_are_alive():
    started, ended, most = [], [], 0

    def counted():
        for job in jobs(10):

            def start(job=job):
                started.append(job)
                nonlocal most
                most = max(most, len(started) - len(ended))
                return job.start()

            yield Job(task=job.task, start=start)

    collect(
        counted(), suite=Suite(), engine=Engine(), sampling=SAMPLING, width=3, on_done=ended.append
    )
    assert len(ended) == 10
    assert most == 3


def test_a_grid_is_kept_full_while_there_are_episodes():
    _, _, engine = play(40, slots=4)
    assert engine.calls[: len(engine.calls) // 2] == [4] * (len(engine.calls) // 2)


# --- failures -------------------------------------------------------------------------


def fails():
    raise ConnectionError("the server is gone")


@pytest.mark.parametrize("workers", [0, 4])
@pytest.mark.parametrize("step", [0, 2])
def test_an_environment_that_raises_ends_its_episode_alone(workers, step):
    expected, _, _ = play(7)
    found, suite, _ = play(7, at={("t2", step): fails}, workers=workers)
    assert [bool(t.error) for t in found] == [i == 2 for i in range(7)]
    call = "reset of task 't2'" if step == 0 else "step 2 ('"
    assert found[2].error.startswith(f"BadAnswer: Suite: {call}")
    assert "raised ConnectionError: the server is gone (" in found[2].error
    broken = found.pop(2)
    assert (broken.task.id, broken.won, broken.steps) == ("t2", False, ())
    del expected[2]
    assert found == expected
    assert all(handle.closed for handle in suite.made)


def test_the_record_of_a_failed_episode_says_what_played_it():
    def start():
        return AGENT.episode(task, (), rng_address=lambda s: (s,), bank_version=7)

    task = Task(id="t0", split="train", category="pick", goal="win", payload={"steps": 1})
    job = Job(task=task, start=start, member=1, repeat=2, skills=("gen_001",), bank_version=7)
    engine = Engine()
    engine.version = 12
    suite = Suite({("t0", 1): fails})
    found, *_ = collect([job, *list(jobs(2))[1:]], suite=suite, engine=engine, sampling=SAMPLING)
    assert (found.member, found.repeat, found.skills) == (1, 2, ("gen_001",))
    assert (found.policy_version, found.bank_version) == (12, 7)
    assert "raised ConnectionError: the server is gone (" in found.error


ODD = [
    None,
    Observation(5),
    Observation("x", {"go"}),
    StepResult(observation=None, done=False, won=False),
]


@pytest.mark.parametrize("workers", [0, 4])
@pytest.mark.parametrize("odd", ODD, ids=repr)
@pytest.mark.parametrize("step", [0, 2])
def test_an_answer_that_is_none_ends_its_episode_alone(workers, odd, step):
    expected, _, _ = play(7)
    found, suite, _ = play(7, at={("t2", step): lambda: Says(odd)}, workers=workers)
    broken = found.pop(2)
    assert broken.error.startswith("BadAnswer: Suite: ")
    assert "step 2" in broken.error if step else "reset" in broken.error
    del expected[2]
    assert found == expected
    assert all(handle.closed for handle in suite.made)


BAD = {
    "no observation": lambda seen: None,
    "text is missing": lambda seen: Observation(None),
    "text is a number": lambda seen: Observation(5),
    "actions are numbers": lambda seen: Observation("x", (1, 2)),
    "actions are one text": lambda seen: Observation("x", "look"),
    "not a result": lambda seen: seen,
    "done is text": lambda seen: StepResult(observation=seen, done="yes", won=False),
    "reward is NaN": lambda seen: StepResult(
        observation=seen, done=False, won=False, reward=float("nan")
    ),
    "score is text": lambda seen: StepResult(
        observation=seen, done=False, won=False, reward=0.0, score="1"
    ),
}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", BAD)
def test_one_malformed_answer_ends_its_episode_alone(kind, workers, caplog):
    class Careless(Suite):
        def make(self):
            handle = super().make()
            right = handle.step

            def step(action):
                result = right(action)
                if handle.task.id != "t2":
                    return result
                made = BAD[kind](result.observation)
                return (
                    made
                    if kind == "not a result" or isinstance(made, StepResult)
                    else (StepResult(observation=made, done=False, won=False))
                )

            handle.step = step
            return handle

    expected, _, _ = play(7)
    found = collect(jobs(7), suite=Careless(), engine=Engine(), sampling=SAMPLING, workers=workers)
    assert [bool(t.error) for t in found] == [i == 2 for i in range(7)]
    assert found[2].error.startswith("BadAnswer: ")
    assert found[:2] + found[3:] == expected[:2] + expected[3:]
    assert "1 episode(s) errored so far, t2 the newest: BadAnswer: " in caplog.text


def test_half_an_emoji_in_an_observation_is_repaired():
    class Cut(Suite):
        def make(self):
            handle = super().make()
            handle._see = lambda what: Observation("cut \ud83d", ("left \udc00",))
            return handle

    (found,) = collect(jobs(1), suite=Cut(), engine=Engine(), sampling=SAMPLING)
    assert found.final == found.steps[0].observation == "cut \ufffd"
    assert found.steps[0].admissible == ("left \ufffd",)
    repr(found).encode()


class Moody(Engine):
    """Does not answer requests of these tasks."""

    def __init__(self, tasks, *, rejected):
        super().__init__()
        self.tasks, self.rejected = tasks, rejected

    def _answer(self, request):
        if request.rng_address[2] in self.tasks:
            return Unanswered("too long", rejected=self.rejected)
        return super()._answer(request)


def test_a_request_without_an_answer_ends_its_episode_alone():
    expected, _, _ = play(7)
    engine = Moody({3}, rejected=True)
    found = collect(jobs(7), suite=Suite(), engine=engine, sampling=SAMPLING)
    assert found[3].error == "Unanswered: too long"
    assert found[:3] + found[4:] == expected[:3] + expected[4:]


def test_requests_without_answers_in_a_row_stop_a_run_unless_each_is_its_own_fault():
    many = LOST_IN_A_ROW + 3
    with pytest.raises(SkillRLError, match=r"last 16 episodes.*not answered.*too long"):
        collect(
            jobs(many), suite=Suite(), engine=Moody(set(range(many)), rejected=False),
            sampling=SAMPLING, width=1,
        )  # fmt: skip
    engine = Moody(set(range(many - 1)), rejected=True)
    found = collect(jobs(many), suite=Suite(), engine=engine, sampling=SAMPLING, width=1)
    assert [bool(t.error) for t in found] == [True] * (many - 1) + [False]


def test_one_prompt_that_cannot_be_built_is_no_matter_of_the_others():
    def start():
        raise SkillRLError("task t9 needs a longer prompt")
        yield

    bad = Job(task=Task(id="t9", split="train", category="pick", goal="win"), start=start)
    found = collect([*jobs(3), bad], suite=Suite(), engine=Engine(), sampling=SAMPLING)
    assert [t.error for t in found[:3]] == [""] * 3
    assert "longer prompt" in found[3].error


def test_an_environment_that_cannot_even_be_closed():
    class Stuck(Suite):
        def make(self):
            handle = super().make()

            def close():
                raise OSError("busy")

            handle.close = close if len(self.made) == 1 else handle.close
            return handle

    found = collect(
        jobs(3), suite=Stuck({("t0", 1): fails}), engine=Engine(), sampling=SAMPLING, width=1
    )
    assert [bool(t.error) for t in found] == [True, False, False]


def loses():
    raise EnvironmentLost("given up")


@pytest.mark.parametrize("workers", [0, 4])
def test_a_run_whose_environments_are_all_lost_stops(workers):
    many = LOST_IN_A_ROW + 3
    with pytest.raises(SkillRLError, match="same command again"):
        play(many, at={(f"t{i}", 1): loses for i in range(many)}, workers=workers, width=4)


def test_rejected_actions_are_no_sign_of_a_server_that_is_gone():
    def rejects():
        raise EnvironmentLost("said no", rejected=True)

    many = LOST_IN_A_ROW + 3
    found, _, _ = play(many, at={(f"t{i}", 1): rejects for i in range(many - 1)}, width=1)
    assert [bool(t.error) for t in found] == [True] * (many - 1) + [False]


@pytest.mark.parametrize("workers", [0, 4])
@pytest.mark.parametrize("count", [1, 5])
def test_a_call_in_which_every_episode_errored_stops(workers, count):
    with pytest.raises(SkillRLError, match=rf"all {count} episodes.*gone.*same command again"):
        play(count, at={(f"t{i}", 1): fails for i in range(count)}, workers=workers)


def test_a_lost_process_of_the_real_engine_is_a_lost_environment():
    assert issubclass(WorkerError, EnvironmentLost)


def test_lost_episodes_between_good_ones_do_not_stop_a_run():
    many = 3 * LOST_IN_A_ROW
    lost = {i for i in range(many) if i % 8}
    found, _, _ = play(many, at={(f"t{i}", 1): loses for i in lost}, width=1)
    assert {i for i, t in enumerate(found) if t.error} == lost


@pytest.mark.parametrize("workers", [0, 4])
def test_a_broken_handle_is_not_used_again(workers):
    _, suite, _ = play(6, at={("t0", 1): fails}, width=1, workers=workers)
    first, second = suite.made
    assert first.log == []
    assert first.closed == 1
    assert len(second.log) == sum(1 + i % 4 for i in range(1, 6))  # all other episodes


@pytest.mark.parametrize("workers", [0, 4])
@pytest.mark.parametrize("error", [SkillRLError("buy more disk"), KeyboardInterrupt()])
def test_what_is_not_the_episodes_own_fault_ends_the_run(workers, error):
    def stop():
        raise error

    suite = Suite({("t3", 1): stop})
    with pytest.raises(type(error)):
        collect(jobs(8), suite=suite, engine=Engine(), sampling=SAMPLING, workers=workers, width=4)
    assert len(suite.made) >= 4
    assert all(handle.closed for handle in suite.made)  # those in use as well


def test_a_prompt_that_cannot_be_built_ends_the_run():
    def start():
        raise SkillRLError("task t0 needs a longer prompt")
        yield

    task = Task(id="t0", split="train", category="pick", goal="win")
    suite = Suite()
    with pytest.raises(SkillRLError, match="longer prompt"):
        collect([Job(task=task, start=start)], suite=suite, engine=Engine(), sampling=SAMPLING)
    assert all(handle.closed for handle in suite.made)


@pytest.mark.parametrize("workers", [0, 4])
def test_handles_are_shared_and_closed(workers):
    _, suite, _ = play(20, width=3, workers=workers)
    assert 1 <= len(suite.made) <= 3
    assert all(handle.closed for handle in suite.made)


# --- slow environments ----------------------------------------------------------------


def test_a_slow_environment_holds_nobody_up():
    """One episode's environment answers only when all others have ended."""
    others_done, ended, in_time = threading.Event(), [], []

    def wait():
        in_time.append(others_done.wait(timeout=20))

    def on_done(trajectory):
        ended.append(trajectory.task.id)
        if len(ended) == 5:
            others_done.set()

    expected, _, _ = play(6, slots=8)
    found, _, engine = play(6, at={("t3", 1): wait}, slots=8, workers=4, on_done=on_done)
    assert in_time == [True]
    assert ended[-1] == "t3"
    assert found == expected
    assert engine.calls


def test_environments_of_several_workers_run_at_the_same_time():
    together = threading.Barrier(3, timeout=20)  # breaks unless three wait at once
    at = {(f"t{i}", 0): together.wait for i in range(3)}
    found, _, _ = play(3, at=at, workers=3)
    assert [t.error for t in found] == [""] * 3


def test_an_interruption_does_not_wait_for_an_environment_that_does_not_answer():
    """One episode's environment hangs; Ctrl-C comes in another."""
    hung, release = threading.Event(), threading.Event()

    def hang():
        hung.set()
        release.wait(timeout=60)

    def interrupt():
        hung.wait(timeout=60)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play(2, at={("t0", 0): hang, ("t1", 0): interrupt}, workers=2)
    assert not release.is_set()
    waiting = [t for t in threading.enumerate() if t.name.startswith("environment-")]
    assert all(thread.daemon for thread in waiting)  # the process would end all the same
    release.set()


def test_skills_that_do_not_fit_end_the_run_and_a_task_that_does_not_its_episode():
    """One is a matter of settings, which no other episode would survive either."""

    def starting(error):
        def start():
            raise error
            yield

        return start

    def play_with(error):
        mixed = list(jobs(4))
        mixed[2] = Job(task=mixed[2].task, start=starting(error))
        return collect(mixed, suite=Suite(), engine=Engine(), sampling=SAMPLING)

    found = play_with(SkillRLError("the goal is too long"))
    assert [bool(t.error) for t in found] == [False, False, True, False]
    with pytest.raises(DoesNotFit, match=r"raise rl\.max_prompt_length"):
        play_with(DoesNotFit("raise rl.max_prompt_length"))


def test_the_rest_of_a_phase_may_all_fail():
    broken = Suite({(f"t{i}", 0): lambda: Says(None) for i in range(3)})
    with pytest.raises(SkillRLError, match="all 3 episodes"):
        collect(jobs(3), suite=broken, engine=Engine(), sampling=SAMPLING)
    found = collect(jobs(3), suite=broken, engine=Engine(), sampling=SAMPLING, may_all_fail=True)
    assert all(t.error for t in found)
