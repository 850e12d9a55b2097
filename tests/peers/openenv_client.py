"""Our client on openenv-core's own server (openenv_server.py).

python tests/peers/openenv_client.py http://HOST:PORT
"""

from __future__ import annotations

import sys

from skillrl.config.settings import EnvConfig, ServerConfig
from skillrl.envs import make_suite
from skillrl.errors import EnvironmentLost


def main() -> None:
    server = ServerConfig(url=sys.argv[1], retries=1, backoff=0.01, num_tasks=6)
    suite = make_suite("openenv", EnvConfig(name="openenv", server=server))
    environment = suite.make()
    steps = 0
    for task in suite.tasks("train"):
        door = task.payload["number"] % 3
        assert task.goal == "go to door 4"
        seen = environment.reset(task)
        assert (seen.text, seen.admissible) == (f"You are at door {door}.", ("on", "back"))
        for at in range(door + 1, 5):
            result = environment.step("on")
            steps += 1
            assert result.observation.text == f"You are at door {at}."
            assert (result.done, result.won) == (at == 4, at == 4)
    environment.reset(suite.tasks("train")[0])
    try:
        environment.step("sideways")
    except EnvironmentLost as error:
        message = str(error)
    else:
        message = "(it was taken for an answer)"
    assert "EXECUTION_ERROR: no way sideways" in message, message
    environment.close()
    won = len(suite.tasks("train"))
    print(f"our client on openenv-core's server: {won} episodes won, {steps} steps")


if __name__ == "__main__":
    main()
