"""openenv-core's own client plays whole ALFWorld episodes on our server. No skillrl here.

python openenv_peer.py http://HOST:PORT WALKS.json
"""

import asyncio
import json
import sys
from importlib.metadata import version

from openenv.core.generic_client import GenericEnvClient


def play(env, walk) -> int:
    """One episode; how many steps it took."""
    result = env.reset(seed=walk["number"])
    assert result.observation["goal"] == walk["goal"], result
    assert result.observation["text"] == walk["seen"][0][1]
    assert (result.reward, result.done) == (None, False)
    for action, text in walk["seen"][1:]:
        assert not result.done
        assert action in result.observation["admissible_commands"]
        result = env.step({"action": action})
        assert result.observation["text"] == text
    assert result.done
    assert result.reward == 1.0
    assert result.observation["won"] is True
    steps = len(walk["seen"]) - 1
    assert env.state()["step_count"] == steps
    return steps


async def together(url, walks) -> None:
    """All episodes at the same time, a connection each, through the asynchronous client."""

    async def one(walk):
        async with GenericEnvClient(base_url=url) as env:
            await env.reset(seed=walk["number"])
            for action, text in walk["seen"][1:]:
                result = await env.step({"action": action})
                assert result.observation["text"] == text
            assert result.done
            assert result.observation["won"]

    await asyncio.gather(*map(one, walks))


def main() -> None:
    url, path = sys.argv[1:]
    with open(path) as file:
        walks = json.load(file)
    with GenericEnvClient(base_url=url).sync() as env:
        steps = [play(env, walk) for walk in walks]
        try:
            env.step({"action": "look", "speed": 3})
            refused = "(it was accepted)"
        except RuntimeError as error:
            refused = str(error)
        assert "VALIDATION_ERROR" in refused, refused
        assert env.reset(seed=0).observation["text"]  # the session goes on
    asyncio.run(together(url, walks))
    print(
        f"openenv-core {version('openenv-core')}: {len(steps)} episodes won one after the other "
        f"({sum(steps)} steps), and {len(walks)} at the same time"
    )


if __name__ == "__main__":
    main()
