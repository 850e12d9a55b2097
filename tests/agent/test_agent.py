"""Episodes as coroutines, single decisions, and demonstrations with the same prompts."""

import dataclasses

import pytest

from skillrl.agent.agent import Act, Reset, SkillAgent, render_response
from skillrl.agent.parse import INADMISSIBLE, MALFORMED
from skillrl.agent.prompt import PromptConfig
from skillrl.errors import SkillRLError
from skillrl.inference.base import Generate, Generated, Sampling
from skillrl.models import chat
from skillrl.training.demonstrations import examples, sample_of
from skillrl.types import Observation, Skill, StepResult, Task

TASK = Task(id="train/0000", split="train", category="pick", goal="put a mug in the safe")
SKILLS = (Skill(id="gen_001", title="Read", principle="Read the task"),)
ROOMS = [Observation(f"You are in room {i}.", ("look", f"go to room {i + 1}")) for i in range(5)]


def make_agent(tokenizer, **options):
    return SkillAgent(tokenizer, role="You act.", config=PromptConfig(**options))


def answer(agent, thought, action):
    ids = agent.response_ids(thought, action)
    return Generated(ids, tuple(-0.5 for _ in ids), True)


def play(agent, replies, *, skills=SKILLS, **options):
    """Drives an episode by hand; returns the trajectory and all it asked for."""
    episode = agent.episode(TASK, skills, rng_address=lambda step: (1, 0, 7, 0, 0, step), **options)
    asked = [next(episode)]
    replies, room, reply = iter(replies), 0, None
    while True:
        wants = asked[-1]
        if isinstance(wants, Reset):
            reply = ROOMS[0]
        elif isinstance(wants, Generate):
            reply = next(replies)
        else:
            room += 1
            last = room == 3
            reply = StepResult(
                observation=ROOMS[room], done=last, won=last, reward=0.25 * room, score=float(last)
            )
        try:
            asked.append(episode.send(reply))
        except StopIteration as stop:
            return stop.value, asked


def walk(agent):
    return [answer(agent, f"because {i}", f"go to room {i + 1}") for i in range(3)]


def test_an_episode_from_reset_to_trajectory(tiny_tokenizer):
    agent = make_agent(tiny_tokenizer)
    replies = walk(agent)
    trajectory, asked = play(agent, replies, member=2, repeat=1, policy_version=5, bank_version=3)
    kinds = [type(wants) for wants in asked]
    assert kinds == [Reset, Generate, Act, Generate, Act, Generate, Act]
    assert asked[0].task is TASK
    assert [w.action for w in asked if isinstance(w, Act)] == [f"go to room {i}" for i in (1, 2, 3)]
    requests = [w for w in asked if isinstance(w, Generate)]
    assert [r.rng_address[-1] for r in requests] == [0, 1, 2]

    assert trajectory.task == TASK
    assert trajectory.won
    assert trajectory.score == 1.0
    assert trajectory.final == ROOMS[3].text
    assert (trajectory.member, trajectory.repeat) == (2, 1)
    assert (trajectory.policy_version, trajectory.bank_version) == (5, 3)
    assert trajectory.skills == ("gen_001",)
    assert [s.reward for s in trajectory.steps] == [0.25, 0.5, 0.75]
    for i, (step, request, reply) in enumerate(
        zip(trajectory.steps, requests, replies, strict=True)
    ):
        assert step.observation == ROOMS[i].text
        assert step.admissible == ROOMS[i].admissible
        assert step.suffix_ids == request.suffix_ids
        assert (step.response_ids, step.logprobs) == (reply.ids, reply.logprobs)
        assert step.response == render_response(f"because {i}", f"go to room {i + 1}")
        assert step.invalid == ""


def test_the_prefix_is_the_same_at_every_step(tiny_tokenizer):
    agent = make_agent(tiny_tokenizer)
    trajectory, asked = play(agent, walk(agent))
    prefixes = {w.prefix_ids for w in asked if isinstance(w, Generate)}
    assert prefixes == {trajectory.prefix_ids} == {agent.prefix(TASK, SKILLS)[0]}


def test_prompt_ids_are_the_texts_in_chat_format(tiny_tokenizer):
    agent = make_agent(tiny_tokenizer)
    _, asked = play(agent, walk(agent))
    for request in (w for w in asked if isinstance(w, Generate)):
        system, user, rest = request.text
        text = tiny_tokenizer.decode(request.prefix_ids + request.suffix_ids, keep_special=True)
        assert text == (
            f"<|im_start|>system\n{system}<|im_end|>\n"
            f"<|im_start|>user\n{user}{rest}<|im_end|>\n<|im_start|>assistant\n"
        )


def test_invalid_responses_are_recorded_with_their_reason(tiny_tokenizer):
    agent = make_agent(tiny_tokenizer)
    text = tuple(chat.response(tiny_tokenizer, "I go"))
    replies = [
        answer(agent, "hm", "fly"),
        Generated(text, (0.0,) * len(text), True),
        answer(agent, "ok", "look"),
    ]
    trajectory, asked = play(agent, replies)
    assert [s.invalid for s in trajectory.steps] == [INADMISSIBLE, MALFORMED, ""]
    assert [w.action for w in asked if isinstance(w, Act)] == ["fly", "", "look"]


def test_demonstrations_show_the_prompts_of_the_episode(tiny_tokenizer):
    agent = make_agent(tiny_tokenizer, history_length=1, action_history=3)
    replies = walk(agent)
    replies[1] = answer(agent, "hm", "fly")  # invalid: history to the next, no example itself
    trajectory, asked = play(agent, replies)
    requests = [w for w in asked if isinstance(w, Generate)]
    thoughts = [agent.thought(step.response) for step in trajectory.steps]
    assert thoughts == ["because 0", "hm", "because 2"]
    found = examples(trajectory, thoughts, skills=SKILLS, agent=agent)
    assert [e.step for e in found] == [0, 2]
    for example in found:
        request = requests[example.step]
        assert example.prefix_ids == request.prefix_ids
        assert example.suffix_ids == request.suffix_ids
        assert example.response_ids == replies[example.step].ids
        assert example.prompt == f"{request.text[0]}\n{request.text[1]}{request.text[2]}"
        assert example.trajectory == trajectory.id
    assert sample_of(found[1], 4).response_ids == found[1].response_ids
    assert found[0].to_json()["response"] == "because 0 | go to room 1"


def test_responses_end_their_turn_and_read_back(tiny_tokenizer):
    agent = make_agent(tiny_tokenizer)
    ids = agent.response_ids("why", "look")
    assert ids[-1] == tiny_tokenizer.im_end_id
    parsed, text = agent.read(Generated(ids, (), True), ("look",))
    assert parsed == ("why", "look", "")
    assert text == "<think>why</think><action>look</action>"


class Scripted:
    """Answers every request with the same tokens."""

    version, slots, tokens = 0, 1, 0

    def __init__(self, reply):
        self.reply, self.requests, self.sampling = reply, [], None

    def submit(self, waiting, sampling):
        self.requests += waiting.values()
        self.sampling = sampling
        self.keys = list(waiting)
        return self.keys

    def step(self):
        return dict.fromkeys(self.keys, self.reply)

    def reset(self):
        self.keys = []


def test_act_with_logprob(tiny_tokenizer):
    agent = make_agent(tiny_tokenizer)
    engine = Scripted(answer(agent, "why", "look"))
    greedy = Sampling(temperature=0.0)
    decision = agent.act_with_logprob(
        engine, TASK, SKILLS, observation=ROOMS[0], sampling=greedy, rng_address=(1, 2, 3, 4, 5, 6)
    )
    assert (decision.action, decision.thought, decision.invalid) == ("look", "why", "")
    assert decision.response == "<think>why</think><action>look</action>"
    assert decision.ids == engine.reply.ids
    assert decision.logprobs == engine.reply.logprobs
    assert engine.sampling is greedy
    (request,) = engine.requests
    assert request.rng_address == (1, 2, 3, 4, 5, 6)
    assert request.prefix_ids == agent.prefix(TASK, SKILLS)[0]
    assert agent.act(engine, TASK, SKILLS, observation=ROOMS[0]) == "look"


def test_engines_that_take_text_need_no_tokenizer():
    agent = make_agent(None)
    engine = Scripted(Generated((), (), True, "<think>why</think><action>look</action>"))
    decision = agent.act_with_logprob(engine, TASK, SKILLS, observation=ROOMS[0])
    assert (decision.action, decision.invalid) == ("look", "")
    (request,) = engine.requests
    assert request.prefix_ids == request.suffix_ids == ()
    assert "You are in room 0." in request.text[2]
    with pytest.raises(RuntimeError, match="tokenizer"):
        agent.read(Generated((1,), (0.0,), True), ())


def test_skills_that_leave_no_room_are_refused_with_the_remedy(tiny_tokenizer):
    agent = make_agent(tiny_tokenizer, max_prompt_length=40)
    many = [Skill(id=f"gen_{i}", title="Read", principle="Read the task " * 5) for i in range(5)]
    with pytest.raises(SkillRLError) as caught:
        agent.prefix(TASK, many)
    for part in ("train/0000", "5 skills", "rl.max_prompt_length is 40", "skill_retrieval.top_k"):
        assert part in str(caught.value)


def test_prefix_and_suffix_together_stay_within_the_limit(tiny_tokenizer):
    agent = make_agent(tiny_tokenizer, history_length=3, max_prompt_length=150)
    prefix, _, _ = agent.prefix(TASK, SKILLS)
    long = Observation("You see a mug 2. " * 40, ("look",))
    suffix, text = agent.suffix(long, [], prefix_length=len(prefix))
    assert len(prefix) + len(suffix) <= 150
    assert text.endswith("Admissible actions:\nlook")
    short = SkillAgent(tiny_tokenizer, role="r", config=PromptConfig(), suffix_limit=50)
    assert len(short.suffix(long, [], prefix_length=0)[0]) <= 50


def test_what_does_not_fit_names_the_limit_that_is_too_small(tiny_tokenizer):
    many = Observation("You see a mug 2.", tuple(f"go to cabinet {i}" for i in range(30)))
    agent = make_agent(tiny_tokenizer, max_prompt_length=80)
    with pytest.raises(SkillRLError, match=r"leaves only 60 of rl\.max_prompt_length \(80\)"):
        agent.suffix(many, [], prefix_length=20)
    short = SkillAgent(tiny_tokenizer, role="r", config=PromptConfig(), suffix_limit=50)
    with pytest.raises(SkillRLError, match=r"longest of rollout\.suffix_buckets is 50"):
        short.suffix(many, [], prefix_length=20)


@pytest.mark.parametrize("long", ["goal", "skill"])
def test_a_megabyte_in_the_prefix_is_an_error_that_says_where(tiny_tokenizer, long):
    agent = make_agent(tiny_tokenizer, max_prompt_length=600)
    words = "put a mug in the safe " * 45_000
    task = dataclasses.replace(TASK, goal=words) if long == "goal" else TASK
    skills = [Skill(id="gen_001", title="Read", principle=words)] if long == "skill" else SKILLS
    with pytest.raises(SkillRLError, match=r"needs more than \d+ prompt tokens") as caught:
        agent.prefix(task, skills)
    part = "goal alone has 990000" if long == "goal" else "longest skill 990000"
    assert part in str(caught.value)
