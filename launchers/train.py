"""Trains an agent end to end: collect, distil, cold start, GRPO, evaluation.

    python launchers/train.py --env=alfworld --mock

The same as ``skillrl train``; ``--help`` lists the flags.
"""

from skillrl.cli.main import launch

if __name__ == "__main__":
    launch("train")
