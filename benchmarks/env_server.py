"""Requests per second and latency of the environment server, with many sessions at once.

    python benchmarks/env_server.py [--sessions N] [--episodes K] [--repeats R] [--json PATH]

A server process (`skillrl serve --env=alfworld`) and this one, the client, share the machine.
Each session plays the expert's walks through generated games, one request at a time and
without a pause between them; all sessions play at the same time. Every answer is compared
with what the environment itself says, so the numbers are those of a server that lost
nothing. The HTTP client is a few lines over sockets: it should cost less than the server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import time

from websockets.asyncio.client import connect

from skillrl.config.settings import EnvConfig
from skillrl.envs import make_suite

DIALECTS = ("agentgym", "openenv")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--episodes", type=int, default=3, help="of each session")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=pathlib.Path, help="write the numbers here as well")
    args = parser.parse_args()

    walks = record(args.sessions * args.episodes)
    result = {
        "environment": "alfworld",
        "sessions": args.sessions,
        "episodes": len(walks),
        "repeats": args.repeats,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
    }
    for dialect in DIALECTS:
        runs = [measure(dialect, walks, args.sessions) for _ in range(args.repeats)]
        result[dialect] = summary(runs)
    print(f"{args.sessions} sessions, {len(walks)} episodes, median of {args.repeats} runs")
    print("ms: of a step (p50, p99) and of a reset, which makes a new game; us: CPU of the server")
    names = ("requests", "per s", "step p50", "step p99", "reset p50", "reset p99", "CPU us")
    print(f"{'dialect':<10}" + "".join(f"{name:>11}" for name in names))
    for dialect in DIALECTS:
        row = result[dialect]
        values = [value for key, value in row.items() if key not in ("requests_per_s_best", "lost")]
        print(f"{dialect:<10}" + "".join(f"{value:>11,}" for value in values))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


def record(count: int) -> list[list[tuple[str, str]]]:
    """The expert's walks through the first `count` training games: ("", text), (action, text)."""
    suite = make_suite("alfworld", EnvConfig())
    walks = []
    for task in suite.tasks("train")[:count]:
        environment, expert = suite.make(), suite.expert(task)
        observation = environment.reset(task)
        walk, done = [("", observation.text)], False
        while not done:
            action = expert.act(observation).action
            result = environment.step(action)
            observation, done = result.observation, result.done
            walk.append((action, observation.text))
        walks.append(walk)
    return walks


def measure(dialect: str, walks: list, sessions: int) -> dict[str, float]:
    """One run against a fresh server."""
    command = [sys.executable, "-m", "skillrl", "serve", "--port=0", f"--dialect={dialect}"]
    command.append(f"--max_sessions={sessions}")
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = server.stdout.readline()
        port = int(re.search(r":(\d+)\s*$", line)[1])
        cpu = cpu_seconds(server.pid)
        start = time.perf_counter()
        latencies = asyncio.run(play_all(dialect, port, walks, sessions))
        wall = time.perf_counter() - start
        cpu = cpu_seconds(server.pid) - cpu
    finally:
        server.terminate()
        server.wait()
    expected = sum(map(len, walks))
    if len(latencies) != expected:
        raise SystemExit(f"{len(latencies)} answers, but {expected} requests")
    steps = sorted(seconds for is_step, seconds in latencies if is_step)
    resets = sorted(seconds for is_step, seconds in latencies if not is_step)
    return {
        "requests": expected,
        "per_s": expected / wall,
        "step_p50": steps[len(steps) // 2],
        "step_p99": steps[len(steps) * 99 // 100],
        "reset_p50": resets[len(resets) // 2],
        "reset_p99": resets[len(resets) * 99 // 100],
        "cpu": cpu / expected,
    }


def summary(runs: list[dict[str, float]]) -> dict[str, float]:
    """Medians over runs."""
    middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    return {
        "requests": int(middle["requests"]),
        "requests_per_s": round(middle["per_s"]),
        "requests_per_s_best": round(max(run["per_s"] for run in runs)),
        **{
            f"{name}_ms": round(1000 * middle[name], 1)
            for name in ("step_p50", "step_p99", "reset_p50", "reset_p99")
        },
        "server_cpu_us_per_request": round(1e6 * middle["cpu"]),
        "lost": 0,  # else there is no result at all
    }


async def play_all(dialect: str, port: int, walks: list, sessions: int) -> list[tuple[bool, float]]:
    """(step or reset, seconds) of every request; all sessions are open before the first one."""
    session = {"agentgym": over_http, "openenv": over_websocket}[dialect]
    gate, opened = asyncio.Barrier(sessions), []
    tasks = [session(port, list(enumerate(walks))[i::sessions], gate) for i in range(sessions)]
    for latencies in await asyncio.gather(*tasks):
        opened += latencies
    return opened


async def over_http(port: int, walks: list, gate: asyncio.Barrier) -> list[tuple[bool, float]]:
    """One session of AgentGym's ALFWorld shape."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def post(path: str, body: dict) -> dict:
        data = json.dumps(body).encode()
        writer.write(
            b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (path.encode(), len(data), data)
        )
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head)[1])
        return json.loads(await reader.readexactly(length))

    key = (await post("/create", {}))["id"]
    await gate.wait()
    latencies = []
    for number, walk in walks:
        for action, text in walk:
            start = time.perf_counter()
            if action:
                answer = await post("/step", {"id": key, "action": action})
            else:
                answer = await post("/reset", {"id": key, "game": number, "world_type": "Text"})
            latencies.append((bool(action), time.perf_counter() - start))
            assert answer["observation"].split("\nYour task is to")[0] == text, answer
        assert answer["reward"] == 1.0
        assert answer["done"]
    writer.close()
    return latencies


async def over_websocket(port: int, walks: list, gate: asyncio.Barrier) -> list[tuple[bool, float]]:
    """One session of OpenEnv."""
    url = f"ws://127.0.0.1:{port}/ws"
    async with connect(url, open_timeout=60, compression=None, proxy=None) as socket:
        await socket.send('{"type": "state"}')
        await socket.recv()
        await gate.wait()
        latencies = []
        for number, walk in walks:
            for action, text in walk:
                kind, data = ("step", {"action": action}) if action else ("reset", {"seed": number})
                start = time.perf_counter()
                await socket.send(json.dumps({"type": kind, "data": data}))
                answer = json.loads(await socket.recv())["data"]
                latencies.append((bool(action), time.perf_counter() - start))
                assert answer["observation"]["text"] == text, answer
            assert answer["observation"]["won"]
            assert answer["done"]
    return latencies


def cpu_seconds(process: int) -> float:
    """CPU time of a process so far (Linux)."""
    fields = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
