"""skyrl-gym's search environment searches and answers over our /retrieve. No skillrl here.

python skyrl_peer.py http://HOST:PORT/retrieve QUESTIONS.json    (of questions.py)
"""

import json
import sys
from importlib.metadata import version

from skyrl_gym.envs.search.env import SearchEnv, SearchEnvConfig


def play(url, entry) -> int:
    """The searches, a wrong answer in one episode and the right one in another."""
    truth = {"reward_spec": {"ground_truth": {"target": entry["answers"]}}, "max_turns": 6}
    for last, reward in ((entry["actions"][-1], 1.0), ("<answer>surely not this</answer>", 0.0)):
        env = SearchEnv(SearchEnvConfig(search_url=url, topk=3, timeout=30), truth)
        env.init([{"role": "user", "content": entry["goal"]}])
        for action, contents in zip(entry["actions"], entry["found"], strict=False):
            turn = env.step(f"<think>search</think>{action}")
            assert not turn["done"]
            text = turn["observations"][0]["content"]
            assert text.startswith("\n<information>"), text
            assert text.endswith("</information>\n"), text
            shown = json.loads(text.strip()[len("<information>") : -len("</information>")])
            wanted = [f"Doc {at}: {passage.strip()}\n" for at, passage in enumerate(contents, 1)]
            assert shown["result"] == "".join(wanted), (shown, wanted)
        end = env.step(f"<think>so</think>{last}")
        assert end["done"]
        assert end["reward"] == reward, end
    return len(entry["found"])


def main() -> None:
    url, path = sys.argv[1:]
    with open(path) as file:
        entries = json.load(file)
    searches = sum(play(url, entry) for entry in entries)
    print(
        f"skyrl-gym {version('skyrl-gym')}: {len(entries)} questions answered, rightly and "
        f"wrongly, {searches} searches each time"
    )


if __name__ == "__main__":
    main()
