"""Lists the commands that there are, and the flags of each."""

from __future__ import annotations

from skillrl.ablation.arms import ARMS
from skillrl.cli import exports, flags
from skillrl.cli.flags import RUN_FLAGS, Command

_DIALECT_HELP = (
    "Wire shape: agentgym (its WebShop shape for webshop, its ALFWorld shape for all else), "
    "agentgym-alfworld, agentgym-webshop, openenv or retrieve. Default: agentgym."
)

_SETTINGS = tuple(flag for flag in RUN_FLAGS if flag.name in ("config", "env", "mock", "set"))

_BANK = flags.path(
    "skill_bank",
    "PATH",
    help=(
        "Skill bank to use: a file of ours or of the released code, or a directory of Agent "
        "Skills. Default: the one that distill wrote for this run."
    ),
)

COMMANDS = {
    command.name: command
    for command in (
        Command(
            name="train",
            brief="trains an agent end to end, all four phases and the evaluation",
            summary=(
                "Trains an agent end to end: collects trajectories, distils skills from them, "
                "cold-starts the policy on demonstrations, improves it with GRPO while the skill "
                "bank evolves, and evaluates it on held-out tasks."
            ),
        ),
        Command(
            name="collect",
            brief="phase one: episodes of the base policy",
            summary="Phase one: plays episodes with the base policy and keeps the trajectories.",
            own=(
                flags.integer("episodes", "N", help="How many. Default: collect.episodes.", low=1),
                flags.path(
                    "output",
                    "FILE",
                    help=(
                        "Trajectories (JSON lines), which the run then remembers. Default: "
                        "collect/trajectories.jsonl in the workdir."
                    ),
                ),
            ),
        ),
        Command(
            name="distill",
            brief="phase two: a skill bank from trajectories",
            summary="Phase two: the teacher distils successes and failures into a skill bank.",
            own=(
                flags.path(
                    "trajectories",
                    "FILE",
                    help="Trajectories to distil. Default: those that collect wrote for this run.",
                ),
                flags.path(
                    "output",
                    "FILE",
                    help=(
                        "The skill bank (JSON), which the run then remembers. Default: "
                        "distill/bank.json in the workdir."
                    ),
                ),
            ),
        ),
        Command(
            name="sft",
            brief="phase three: the cold start on demonstrations",
            summary=(
                "Phase three: supervised fine-tuning on demonstrations with their skills (cold "
                "start)."
            ),
            own=(
                _BANK,
                flags.path(
                    "trajectories",
                    "FILE",
                    help=(
                        "Trajectories whose successes are imitated. Default: those that collect "
                        "wrote for this run."
                    ),
                ),
                flags.integer(
                    "num_examples",
                    "N",
                    help="At most this many step examples, 0 for all. Default: sft.num_examples.",
                    low=0,
                ),
            ),
        ),
        Command(
            name="rl",
            brief="phase four: GRPO with an evolving skill bank",
            summary=(
                "Phase four: GRPO from the cold-started policy, the skill bank evolving from the "
                "failures of the training rollouts."
            ),
            own=(_BANK,),
        ),
        Command(
            name="evaluate",
            brief="success on held-out tasks, per category",
            summary=(
                "Plays the fixed manifest of held-out tasks and reports success per category with "
                "its confidence interval. Settings are those of the run in the workdir, where "
                "there is one, and what --set adds. With --workdir, --config or --mock/--nomock "
                "replace them; without it, these flags only say which of the default directories "
                "it is."
            ),
            own=(
                flags.path(
                    "checkpoint",
                    "base|sft|rl|PATH",
                    help=(
                        "Which policy: a stage of the run or a Hugging Face directory. Default: rl."
                    ),
                    default="rl",
                ),
                flags.text(
                    "split",
                    "NAME",
                    help="valid_unseen, valid_seen, ... Default: evaluation.splits.",
                ),
                flags.text(
                    "bank",
                    "ARM[,ARM]",
                    help=(
                        "Skills in the prompts: none; own, those that the checkpoint was saved "
                        "with; initial, the first that the run distilled; PATH, another bank; "
                        "shuffled, another category's for each task; neutral, text of the same "
                        "length about nothing. The last two are made from own, or from what "
                        "stands behind a colon (neutral:initial). Where it is given, none is "
                        "played as well, and every arm compared with it. Default: own; none for "
                        "--checkpoint=base."
                    ),
                ),
                flags.integer(
                    "concurrency",
                    "N",
                    help=(
                        "Episodes in flight; never changes a result. Default: twice rollout.slots."
                    ),
                    low=1,
                ),
                flags.integer(
                    "repeats",
                    "N",
                    help=(
                        "Times that each task is played; from 2 on with pass@1 and pass@N, and "
                        "tasks as the units of intervals. Default: evaluation.repeats."
                    ),
                    low=1,
                ),
                flags.number(
                    "temperature", "T", help="0 is greedy. Default: evaluation.temperature.", low=0
                ),
                flags.path("output", "FILE", help="Also writes the result there (JSON)."),
            ),
        ),
        Command(
            name="ablate",
            brief="controls and ablations side by side, and what they say of skills",
            summary=(
                "Trains and evaluates arms that differ in one thing each, several at once and "
                "each a run of its own, and says with intervals what skills do: against no "
                "skills, others' skills, neutral text, raw trajectories, a bank that does not "
                "evolve. They share episodes, demonstrations and budgets. The same command goes "
                "on where it stopped. Status 1 if an arm failed."
            ),
            own=(
                flags.text(
                    "arms",
                    "all|NAME[,NAME]",
                    help=f"Which: {', '.join(ARMS)}. Default: all. What these need is run, too.",
                    default="all",
                ),
                flags.text("seeds", "N[,N]", help="Seeds. Default: 0.", default="0"),
                flags.integer(
                    "jobs",
                    "N",
                    help=(
                        "Processes at once. Default: half as many as cores, or as the GPUs allow."
                    ),
                    low=1,
                ),
                flags.texts(
                    "set_arm",
                    "ARM:SECTION.FIELD=VALUE",
                    help=(
                        "One setting of one arm, e.g. its own tuned learning rate, "
                        "--set_arm grpo_sft:rl.learning_rate=3e-4. May be repeated."
                    ),
                ),
                flags.path(
                    "workdir",
                    "DIR",
                    help="Arms are runs in DIR/seedN/ARM. Default: runs/ablate-ENV.",
                ),
                flags.path(
                    "output",
                    "FILE",
                    help="Also writes DIR/ablation.json, all that was found, there.",
                ),
                flags.path(
                    "plot", "FILE", help="Draws the training curves there (needs matplotlib)."
                ),
                *_SETTINGS,
            ),
            common=False,
        ),
        Command(
            name="plan",
            brief="whether a run fits on devices that are not here, and how long it takes",
            summary=(
                "Compiles the programs of a run for devices that are not here, from shapes alone "
                "(no weights, network, key or card), and prints what one device holds, computes "
                "and exchanges, about how long an iteration of RL takes, and whether it fits. The "
                "policy is model.policy_path (a directory with a config.json, or the name of a "
                "released Qwen) or model.policy_model_id. Where no axis of mesh is set, it "
                "chooses the mesh. Takes a few minutes. Status 0 whether it fits or not."
            ),
            own=(
                flags.integer("devices", "N", help="How many. Always needed.", low=1),
                flags.text(
                    "device_kind",
                    "NAME",
                    help="Which: h100, h200, a100, v5e, v5p or v6e. Always needed.",
                ),
                flags.integer(
                    "tried",
                    "N",
                    help=(
                        "How many of the most promising meshes, micro-batches and remats are "
                        "compiled, that of the settings included. Default: 3."
                    ),
                    default=3,
                    low=1,
                ),
                flags.path("output", "FILE", help="Also writes everything there, as JSON."),
                *(flag for flag in _SETTINGS if flag.name != "mock"),
                flags.switch(
                    "mock", help="The settings of a --mock run. Default: --nomock.", default=False
                ),
            ),
            common=False,
        ),
        Command(
            name="inspect",
            brief="shows a skill bank, its history, two versions, or one skill's life",
            summary=(
                "Shows a skill bank with what each skill was measured to be worth, and its "
                "history. PATH is a bank file, a directory of Agent Skills, or a run directory "
                "(its newest bank)."
            ),
            own=(
                flags.integer(
                    "history",
                    "N",
                    help="Newest events of the history that are shown. Default: 10.",
                    default=10,
                    low=0,
                ),
                flags.integer(
                    "from",
                    "V",
                    help=(
                        "Shows instead what changed from this version of a run's bank on. "
                        "Default, where --to is given: the oldest one."
                    ),
                    low=0,
                ),
                flags.integer(
                    "to",
                    "V",
                    help="The version that --from is compared with. Default: the newest one.",
                    low=0,
                ),
                flags.text(
                    "why",
                    "ID",
                    help=(
                        "Tells instead the life of one skill: who proposed it from which "
                        "trajectories, every change with its reason, its use and examinations."
                    ),
                ),
            ),
            positional="PATH",
            common=False,
        ),
        Command(
            name="convert",
            brief="writes a skill bank in another format",
            summary=(
                "Writes a skill bank in another format. PATH is a bank file of ours or of the "
                "released code, a directory of Agent Skills (folders with SKILL.md), or a run "
                "directory (its newest bank)."
            ),
            own=(
                flags.path(
                    "output", "PATH", help="Where to; there must be nothing yet. Always needed."
                ),
                flags.text(
                    "format",
                    "NAME",
                    help=(
                        "skillrl (a file that holds all), released (a file with the words alone) "
                        "or agent_skills (a directory). Default: skillrl."
                    ),
                    default="skillrl",
                ),
            ),
            positional="PATH",
            common=False,
        ),
        exports.COMMAND,
        Command(
            name="check",
            brief="plays an environment and says what breaks the contract",
            summary=(
                "Plays an environment with random actions and with its expert, and says what "
                "breaks the contract of an environment: tasks that change, answers that differ, "
                "actions that are refused, handles that share or leave something. Status 1 if "
                "anything does."
            ),
            own=(
                flags.integer(
                    "episodes",
                    "N",
                    help="Tasks of each split that are played. Default: 6.",
                    default=6,
                    low=1,
                ),
                flags.number(
                    "timeout",
                    "SECONDS",
                    help=(
                        "A call into the environment that takes longer is a finding, and the end "
                        "of the check. Default: 30."
                    ),
                    default=30.0,
                    low=0.1,
                ),
                flags.number(
                    "time_limit",
                    "SECONDS",
                    help="All calls together. Default: 1800.",
                    default=1800.0,
                    low=1,
                ),
                *_SETTINGS,
            ),
            common=False,
        ),
        Command(
            name="play",
            brief="one episode by hand",
            summary=(
                "Plays one episode by hand: you type actions, or their numbers, and see what the "
                "agent sees. Writes nothing but --output."
            ),
            own=(
                flags.text("task", "ID", help="Which task. Default: the first."),
                flags.text("split", "NAME", help="train, valid_seen or valid_unseen."),
                flags.path(
                    "skill_bank", "PATH", help="Bank that :skills and :prompt retrieve from."
                ),
                flags.path(
                    "output",
                    "FILE.json",
                    help="Actions and answers, as replay writes them; replay --actions reads them.",
                ),
                *_SETTINGS,
            ),
            common=False,
        ),
        Command(
            name="replay",
            brief="plays a list of actions in one task",
            summary=(
                "Plays a list of actions in one task and writes every answer. A --game of ALFWorld "
                "is played without a step limit, as the engine answers; a --task of any "
                "environment as an agent sees it."
            ),
            own=(
                flags.text(
                    "task", "ID", help="A task as trajectories have it (valid_unseen/0007)."
                ),
                flags.path(
                    "game",
                    "FILE",
                    help=(
                        "A game.tw-pddl of ALFWorld, or the id of a generated task as trajectories "
                        "have it (valid_unseen/0007)."
                    ),
                ),
                flags.path(
                    "actions",
                    "FILE.json",
                    help="A JSON list of action strings, or what play has written.",
                ),
                flags.path(
                    "output",
                    "FILE.json",
                    help=(
                        "A JSON list of {observation, admissible, reward, done, won}, entry 0 "
                        "being the reset; with --task also action and score."
                    ),
                ),
                *_SETTINGS,
            ),
            common=False,
        ),
        Command(
            name="serve",
            brief="serves an environment to other programs",
            summary=(
                "Serves an environment to other programs, over HTTP or WebSocket, until Ctrl-C. "
                "Prints its address when it is ready."
            ),
            own=(
                flags.text(
                    "env", "NAME", help="Environment. Default: alfworld.", default="alfworld"
                ),
                flags.text("dialect", "NAME", help=_DIALECT_HELP, default="agentgym"),
                flags.text(
                    "host",
                    "ADDRESS",
                    help=(
                        "Address to listen on; there is no password. Default: 127.0.0.1, which "
                        "only this machine reaches."
                    ),
                    default="127.0.0.1",
                ),
                flags.integer(
                    "port", "N", help="0 picks a free one. Default: 3000.", default=3000, low=0
                ),
                flags.integer(
                    "max_sessions",
                    "N",
                    help="Episodes at the same time. Default: 256.",
                    default=256,
                    low=1,
                ),
                flags.number(
                    "session_ttl",
                    "SECONDS",
                    help="A session unused for so long is closed. Default: 1800.",
                    default=1800.0,
                    low=0.1,
                ),
                flags.texts(
                    "set",
                    "env.FIELD=VALUE",
                    help=(
                        "A setting of the environment, e.g. --set env.data_dir=DIR. May be "
                        "repeated."
                    ),
                ),
            ),
            common=False,
        ),
    )
}
