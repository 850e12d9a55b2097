"""Kinds of input that something goes on from: run directories, and requests to a server."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzzing.damage import damaged, encoded, flipped, nasty, text_of
from fuzzing.files import _EPISODES, _OWN, Attempt, hold, use_bank
from skillrl import pipeline
from skillrl.config.settings import Config, public_dict
from skillrl.envs import make_suite
from skillrl.envs.serve.app import make_app
from skillrl.errors import SkillRLError
from skillrl.evaluation.evaluate import summarise
from skillrl.io.checksums import seal, seal_directory
from skillrl.phases import prerequisites, report
from skillrl.phases.run_directory import Metrics, RunDirectory, check_workdir, recorded_config
from skillrl.phases.session import Display, Session
from skillrl.phases.wall import WallClock
from skillrl.rollouts import store
from skillrl.training.checkpoint import Checkpoints

# ---------------------------------------------------------------- run directories

_CONFIG = Config.from_dict({"rl": {"training_epochs": 4}})


@functools.cache
def _suite() -> Any:
    return make_suite("alfworld", _CONFIG.env)


@functools.cache
def _template() -> dict[str, Any]:
    """Name of a file of a small finished run -> its value, or its rows."""
    result = summarise(_EPISODES, _suite().categories)
    result |= {"temperature": 0.0, "repeats": 1, "skills": 4}
    evaluated = {f"evaluation/{stage}-valid_unseen.json": result for stage in ("base", "sft", "rl")}
    event = {"step": 2, "added": ["dyn_003"], "refined": [], "overall": 0.5, "categories": {}}
    metrics = [{"phase": "rl", "step": step, "success": 0.5, "kl": None} for step in (1, 2)]
    files = {
        "config.json": public_dict(_CONFIG),
        "phases.json": {"collect": {}, "distill": {}, "sft": {}, "train": {"training_epochs": 4}},
        "wall_seconds.json": {"collect": 1.5, "rl": 2.0},
        **evaluated,
        "metrics.jsonl": metrics,
        "distill/bank.json": _OWN,
        "banks/4.json": _OWN,
        "rl/evolution.jsonl": [event],
        "collect/trajectories.jsonl": [store.to_json(one) for one in _EPISODES],
        "policy/config.json": {"model_type": "qwen2"},
        "checkpoints/rl/2/extra": {"iteration": 2, "bank": _OWN, "since_event": 0},
    }
    with tempfile.TemporaryDirectory() as directory:
        for file, value in files.items():
            rows = value if file.endswith(".jsonl") else [value]
            _write(Path(directory, file), [_sealed(text_of(row).encode()) for row in rows])
        session = _session(Path(directory))
        summary = report.summarise_run(session, report.newest_bank(session))
    return files | {"summary.json": summary}


def _write(path: Path, lines: list[bytes]) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = b"\n".join(lines) + b"\n"
    path.write_bytes(content)
    return content


def runs(rng: random.Random, place: Path) -> tuple[object, Attempt]:
    """A run directory in which one file is damaged."""
    name = rng.choice(sorted(_template()))
    root, data = place / "run", b""
    for file, value in _template().items():
        rows = value if file.endswith(".jsonl") else [value]
        texts = [_sealed(text_of(row).encode()) for row in rows]
        if file == name:
            at = rng.randrange(len(rows))
            row = json.loads(json.dumps(rows[at]))
            hurt = encoded(rng, damaged(rng, row, most=2)).replace(b"\n", b" ")
            # Mostly with the checksum of what it became: else that alone would refuse it.
            texts[at] = _sealed(hurt) if rng.random() < 0.8 else hurt
        content = _write(root / file, texts)
        data = content if file == name else data
    (root / "checkpoints/rl/2/state").mkdir(parents=True)
    (root / "checkpoints/rl/2/commit_success.txt").write_text("ok")
    seal_directory(root / "checkpoints/rl/2")
    work = rng.choice((_look, _go_on, _report, _train_again, _restore))
    if name.startswith("checkpoints"):
        work = _restore
    return (name, work.__name__, data), lambda: _quietly(work, root)


def _sealed(text: bytes) -> bytes:
    """JSON of an object with its checksum; what is none, or cannot have one, as it is."""
    try:
        value = json.loads(text)
        return json.dumps(seal(value)).encode() if isinstance(value, dict) else text
    except (ValueError, RecursionError):
        return text


def _quietly(work: Callable[[Path], None], root: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        work(root)


def _session(root: Path) -> Session:
    directory = RunDirectory(root, _CONFIG, lock=False)
    clock = WallClock(directory.file("wall_seconds.json"))
    return Session(
        config=_CONFIG,
        run=directory,
        metrics=Metrics(directory, tensorboard=False),
        suite=_suite(),
        seed=0,
        clock=clock,
        display=Display(enabled=False, on_update=clock.note),
    )


def _look(root: Path) -> None:
    recorded_config(root)
    check_workdir(root, _CONFIG)
    with RunDirectory(root, _CONFIG) as run:
        for phase in ("collect", "sft", "train"):
            hold(isinstance(run.finished(phase), dict | None), "a phase is no object")
        run.finish("rl", iterations=2)
        for name in ("distill", "sft", "rl"):
            chosen = {"trajectories": None, "skill_bank": None}
            with contextlib.suppress(SkillRLError):
                prerequisites.check(name, run, chosen)


def _go_on(root: Path) -> None:
    session = _session(root)
    with session.clock.timed("rl"):
        pass
    session.metrics.rows("rl")
    session.metrics.resume("rl", 1)
    session.metrics.write("rl", 2, {"success": 1.0})
    use_bank(report.newest_bank(session), root.parent)
    list(store.read(root / "collect" / "trajectories.jsonl"))


def _restore(root: Path) -> None:
    with Checkpoints(root / "checkpoints" / "rl") as checkpoints:
        step = checkpoints.latest()
        if step is not None:
            with contextlib.suppress(SkillRLError):  # its arrays are not here
                checkpoints.extra(step)


def _report(root: Path) -> None:
    session = _session(root)
    summary = report.summarise_run(session, report.newest_bank(session))
    json.dumps(summary, allow_nan=False, ensure_ascii=False).encode("utf-8")
    report.report(session, summary).encode("utf-8", "backslashreplace")


def _train_again(root: Path) -> None:
    """What ``train`` does with a finished run."""
    check_workdir(root, _CONFIG)
    if pipeline._is_finished(_session(root)):
        report.report_finished(_session(root)).encode("utf-8", "backslashreplace")


# ---------------------------------------------------------------- requests

KEY = "@KEY@"
"""Stands for the id of a session that is open."""

_BODIES: dict[str, list[tuple[str, str, dict[str, Any]]]] = {
    "agentgym-alfworld": [
        ("POST", "/reset", {"id": KEY, "game": 1, "world_type": "Text"}),
        ("POST", "/step", {"id": KEY, "action": "look"}),
        ("POST", "/close", {"id": KEY}),
        ("GET", f"/observation?id={KEY}", {}),
        ("GET", f"/available_actions?id={KEY}", {}),
        ("GET", f"/detail?id={KEY}", {}),
        ("GET", "/manifest?split=train", {}),
    ],
    "agentgym-webshop": [
        ("POST", "/reset", {"env_idx": KEY, "session_id": 1}),
        ("POST", "/step", {"env_idx": KEY, "action": "search[shirt]"}),
        ("POST", "/close", {"env_idx": KEY}),
        ("GET", f"/available_actions?env_idx={KEY}", {}),
        ("GET", f"/observation?env_idx={KEY}", {}),
        ("GET", f"/instruction_text?env_idx={KEY}", {}),
    ],
    "openenv": [
        ("POST", "/reset", {"seed": 3}),
        ("POST", "/step", {"action": {"text": "look"}, "seed": 3}),
        ("GET", "/schema", {}),
        ("WS", "/ws", {"type": "reset", "data": {"seed": 3}}),
        ("WS", "/ws", {"type": "step", "data": {"text": "look"}}),
        ("WS", "/ws", {"type": "state"}),
    ],
    "retrieve": [
        ("POST", "/retrieve", {"query": "who", "topk": 2}),
        ("POST", "/retrieve", {"queries": ["who", "where"], "topk": 2, "return_scores": True}),
    ],
}
_ENVIRONMENTS = {
    "agentgym-alfworld": "alfworld",
    "agentgym-webshop": "webshop",
    "openenv": "alfworld",
    "retrieve": "search",
}


class _Served:
    """The application that ``skillrl serve`` serves, asked without a socket."""

    def __init__(self, dialect: str):
        name = _ENVIRONMENTS[dialect]
        suite = make_suite(name, Config.from_dict({"env": {"name": name, "max_steps": 5}}).env)
        self.app = make_app(suite, dialect, max_sessions=100, session_ttl=60.0, workers=1)
        self.loop = asyncio.new_event_loop()
        self._key: Any = None

    def ask(self, method: str, target: str, body: bytes, headers: list[tuple[bytes, bytes]]) -> Any:
        return self.loop.run_until_complete(self._http(method, target, body, headers))

    def key(self, *, fresh: bool) -> str:
        """The JSON of the id of a session; of a new one where the last may be closed."""
        if self._key is None or fresh:
            made = self.ask("POST", "/create", b"", [])
            made = made.get("id") if isinstance(made, dict) else made
            self._key = self._key if made is None else made  # None: the server is full
        return json.dumps(self._key)

    def talk(self, messages: list[bytes]) -> None:
        self.loop.run_until_complete(self._websocket(messages))

    async def _http(
        self, method: str, target: str, body: bytes, headers: list[tuple[bytes, bytes]]
    ) -> Any:
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode("utf-8", "surrogatepass"),
            "headers": [(b"host", b"127.0.0.1:3000"), *headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 3000),
            "scheme": "http",
            "http_version": "1.1",
            "root_path": "",
        }
        sent: list[dict[str, Any]] = []
        parts = [body[: len(body) // 2], body[len(body) // 2 :]]

        async def receive() -> dict[str, Any]:
            if parts:
                part = parts.pop(0)
                return {"type": "http.request", "body": part, "more_body": bool(parts)}
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        status = sent[0]["status"]
        answer = b"".join(message.get("body", b"") for message in sent[1:])
        hold(status < 500 or status == 503, f"{method} {path} answers {status}")
        text = answer.decode("utf-8")
        kind = dict(sent[0]["headers"]).get(b"content-type", b"")
        return json.loads(text) if kind.startswith(b"application/json") else text

    async def _websocket(self, messages: list[bytes]) -> None:
        scope = {
            "type": "websocket",
            "path": "/ws",
            "raw_path": b"/ws",
            "query_string": b"",
            "headers": [(b"host", b"127.0.0.1:3000")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 3000),
            "scheme": "ws",
            "http_version": "1.1",
            "root_path": "",
            "subprotocols": [],
        }
        waiting: list[dict[str, Any]] = [{"type": "websocket.connect"}]
        for data in messages:
            try:
                waiting.append({"type": "websocket.receive", "text": data.decode("utf-8")})
            except UnicodeDecodeError:  # no WebSocket server hands such text on
                waiting.append({"type": "websocket.receive", "bytes": data})

        async def receive() -> dict[str, Any]:
            if waiting:
                return waiting.pop(0)
            return {"type": "websocket.disconnect", "code": 1000}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "websocket.send":
                json.loads(message["text"].encode("utf-8"))

        await self.app(scope, receive, send)


@functools.cache
def _served(dialect: str) -> _Served:
    return _Served(dialect)


def _length(rng: random.Random, data: bytes) -> bytes:
    return (str(len(data)) if rng.random() < 0.9 else rng.choice(("-1", "9" * 30, "x"))).encode()


def requests(rng: random.Random, place: Path) -> tuple[object, Attempt]:
    """A request, or a conversation, to one of the dialects of a server."""
    dialect = rng.choice(sorted(_BODIES))
    method, target, body = rng.choice(_BODIES[dialect])
    data = encoded(rng, damaged(rng, body, most=2))
    if "?" in target and rng.random() < 0.8:
        path, _, query = target.partition("?")
        value = nasty(rng)
        said = value if isinstance(value, str) else text_of(value)[:2000]
        target = f"{path}?{rng.choice((query.partition('=')[0], query))}={said}"
    if rng.random() < 0.1:
        data = flipped(rng, data)
    headers = [(b"content-length", _length(rng, data))]
    if rng.random() < 0.2:
        headers.append(
            (rng.choice((b"origin", b"host", b"content-type")), flipped(rng, b"http://a"))
        )

    def attempt() -> None:
        served = _served(dialect)
        if method == "WS":
            first = json.dumps(_BODIES["openenv"][3][2]).encode()
            served.talk([first, data, first] if rng.random() < 0.7 else [data])
            return
        key = served.key(fresh=rng.random() < 0.03) if dialect.startswith("agentgym") else ""
        said = data.replace(json.dumps(KEY).encode(), key.encode())
        served.ask(method, target.replace(KEY, key.strip('"')), said, headers)

    return (dialect, method, target[:300], data[:600], headers), attempt
