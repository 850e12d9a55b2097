"""Expert episodes of the search environment, for a peer that has no expert.

    python tests/peers/questions.py OUTPUT.json

One entry per question: the question, its golden answers, the actions that answer it, and for
each search the passages that it finds.
"""

from __future__ import annotations

import json
import sys

from skillrl.config.settings import EnvConfig
from skillrl.envs import make_suite

QUESTIONS = 12
TOP_K = 3


def main() -> None:
    suite = make_suite("search", EnvConfig(name="search"))
    retriever = suite.retriever()
    entries = []
    for task in suite.tasks("valid_unseen")[:QUESTIONS]:
        environment, expert = suite.make(), suite.expert(task)
        observation = environment.reset(task)
        actions, found, done = [], [], False
        while not done:
            actions.append(expert.act(observation).action)
            result = environment.step(actions[-1])
            observation, done = result.observation, result.done
            if not done:
                query = actions[-1].removeprefix("<search>").removesuffix("</search>")
                hits = retriever.search(query, TOP_K)
                found.append([hit.document.contents for hit in hits])
        assert result.won
        answers = list(task.payload["answers"])
        entries.append({"goal": task.goal, "answers": answers, "actions": actions, "found": found})
    with open(sys.argv[1], "w") as file:
        json.dump(entries, file)


if __name__ == "__main__":
    main()
