"""The commands that there are, and the flags of each."""

from __future__ import annotations

from skillrl.cli.flags import COMMON, Command, Flag

_DIALECT_HELP = (
    "Wire shape: agentgym (its WebShop shape for webshop, its ALFWorld shape for all else), "
    "agentgym-alfworld, agentgym-webshop, openenv or retrieve. Default: agentgym."
)

_SETTINGS = tuple(flag for flag in COMMON if flag.name in ("config", "env", "mock", "set"))

_BANK = Flag(
    "skill_bank",
    "path",
    "FILE",
    "Skill bank to use. Default: the one that distill wrote for this run.",
)

COMMANDS = {
    command.name: command
    for command in (
        Command(
            "train",
            "trains an agent end to end, all four phases and the evaluation",
            "Trains an agent end to end: collects trajectories, distils skills from them, "
            "cold-starts the policy on demonstrations, improves it with GRPO while the skill bank "
            "evolves, and evaluates it on held-out tasks.",
        ),
        Command(
            "collect",
            "phase one: episodes of the base policy",
            "Phase one: plays episodes with the base policy and keeps the trajectories.",
            (
                Flag("episodes", "int", "N", "How many. Default: collect.episodes.", low=1),
                Flag(
                    "output",
                    "path",
                    "FILE",
                    "Trajectories (JSON lines), which the run then remembers. Default: "
                    "collect/trajectories.jsonl in the workdir.",
                ),
            ),
        ),
        Command(
            "distill",
            "phase two: a skill bank from trajectories",
            "Phase two: the teacher distils successes and failures into a skill bank.",
            (
                Flag(
                    "trajectories",
                    "path",
                    "FILE",
                    "Trajectories to distil. Default: those that collect wrote for this run.",
                ),
                Flag(
                    "output",
                    "path",
                    "FILE",
                    "The skill bank (JSON), which the run then remembers. Default: "
                    "distill/bank.json in the workdir.",
                ),
            ),
        ),
        Command(
            "sft",
            "phase three: the cold start on demonstrations",
            "Phase three: supervised fine-tuning on demonstrations with their skills (cold start).",
            (
                _BANK,
                Flag(
                    "trajectories",
                    "path",
                    "FILE",
                    "Trajectories whose successes are imitated. Default: those that collect wrote "
                    "for this run.",
                ),
                Flag(
                    "num_examples",
                    "int",
                    "N",
                    "At most this many step examples, 0 for all. Default: sft.num_examples.",
                    low=0,
                ),
            ),
        ),
        Command(
            "rl",
            "phase four: GRPO with an evolving skill bank",
            "Phase four: GRPO from the cold-started policy, the skill bank evolving from the "
            "failures of the training rollouts.",
            (_BANK,),
        ),
        Command(
            "evaluate",
            "success on held-out tasks, per category",
            "Plays the fixed manifest of held-out tasks and reports success per category with its "
            "confidence interval. Settings are those of the run in the workdir, where there is "
            "one, and what --set adds. With --workdir, --config or --mock/--nomock replace them; "
            "without it, these flags only say which of the default directories it is.",
            (
                Flag(
                    "checkpoint",
                    "path",
                    "base|sft|rl|PATH",
                    "Which policy: a stage of the run or a Hugging Face directory. Default: rl.",
                    "rl",
                ),
                Flag(
                    "split",
                    "text",
                    "NAME",
                    "valid_unseen, valid_seen, ... Default: evaluation.splits.",
                ),
                Flag(
                    "concurrency",
                    "int",
                    "N",
                    "Episodes in flight; never changes a result. Default: twice rollout.slots.",
                    low=1,
                ),
                Flag(
                    "repeats",
                    "int",
                    "N",
                    "Times that each task is played. Default: evaluation.repeats.",
                    low=1,
                ),
                Flag(
                    "temperature",
                    "float",
                    "T",
                    "0 is greedy. Default: evaluation.temperature.",
                    low=0,
                ),
                Flag("output", "path", "FILE", "Also writes the result there (JSON)."),
            ),
        ),
        Command(
            "inspect",
            "shows a skill bank",
            "Shows a skill bank: a bank file, or a run directory (its newest bank).",
            positional="PATH",
            common=False,
        ),
        Command(
            "check",
            "plays an environment and says what breaks the contract",
            "Plays an environment with random actions and with its expert, and says what breaks "
            "the contract of an environment: tasks that change, answers that differ, actions that "
            "are refused, handles that share or leave something. Status 1 if anything does.",
            (
                Flag(
                    "episodes", "int", "N", "Tasks of each split that are played. Default: 6.", 6, 1
                ),
                Flag(
                    "timeout",
                    "float",
                    "SECONDS",
                    "A call into the environment that takes longer is a finding, and the end of "
                    "the check. Default: 30.",
                    30.0,
                    low=0.1,
                ),
                Flag(
                    "time_limit",
                    "float",
                    "SECONDS",
                    "All calls together. Default: 1800.",
                    1800.0,
                    low=1,
                ),
                *_SETTINGS,
            ),
            common=False,
        ),
        Command(
            "play",
            "one episode by hand",
            "Plays one episode by hand: you type actions, or their numbers, and see what the "
            "agent sees. Writes nothing but --output.",
            (
                Flag("task", "text", "ID", "Which task. Default: the first."),
                Flag("split", "text", "NAME", "train, valid_seen or valid_unseen."),
                Flag("skill_bank", "path", "FILE", "Bank that :skills and :prompt retrieve from."),
                Flag(
                    "output",
                    "path",
                    "FILE.json",
                    "Actions and answers, as replay writes them; replay --actions reads them.",
                ),
                *_SETTINGS,
            ),
            common=False,
        ),
        Command(
            "replay",
            "plays a list of actions in one task",
            "Plays a list of actions in one task and writes every answer. A --game of ALFWorld "
            "is played without a step limit, as the engine answers; a --task of any environment "
            "as an agent sees it.",
            (
                Flag("task", "text", "ID", "A task as trajectories have it (valid_unseen/0007)."),
                Flag(
                    "game",
                    "path",
                    "FILE",
                    "A game.tw-pddl of ALFWorld, or the id of a generated task as trajectories "
                    "have it (valid_unseen/0007).",
                ),
                Flag(
                    "actions",
                    "path",
                    "FILE.json",
                    "A JSON list of action strings, or what play has written.",
                ),
                Flag(
                    "output",
                    "path",
                    "FILE.json",
                    "A JSON list of {observation, admissible, reward, done, won}, entry 0 being "
                    "the reset; with --task also action and score.",
                ),
                *_SETTINGS,
            ),
            common=False,
        ),
        Command(
            "serve",
            "serves an environment to other programs",
            "Serves an environment to other programs, over HTTP or WebSocket, until Ctrl-C. Prints "
            "its address when it is ready.",
            (
                Flag("env", "text", "NAME", "Environment. Default: alfworld.", "alfworld"),
                Flag("dialect", "text", "NAME", _DIALECT_HELP, "agentgym"),
                Flag(
                    "host",
                    "text",
                    "ADDRESS",
                    "Address to listen on; there is no password. Default: 127.0.0.1, which only "
                    "this machine reaches.",
                    "127.0.0.1",
                ),
                Flag("port", "int", "N", "0 picks a free one. Default: 3000.", 3000, low=0),
                Flag(
                    "max_sessions",
                    "int",
                    "N",
                    "Episodes at the same time. Default: 256.",
                    256,
                    low=1,
                ),
                Flag(
                    "session_ttl",
                    "float",
                    "SECONDS",
                    "A session unused for so long is closed. Default: 1800.",
                    1800.0,
                    low=0.1,
                ),
                Flag(
                    "set",
                    "list",
                    "env.FIELD=VALUE",
                    "A setting of the environment, e.g. --set env.data_dir=DIR. May be repeated.",
                    (),
                ),
            ),
            common=False,
        ),
    )
}
