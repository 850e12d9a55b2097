"""Phase one: plays episodes with the base policy and keeps the trajectories.

    python launchers/collect.py --episodes=64

The same as ``skillrl collect``; ``--help`` lists the flags.
"""

from skillrl import cli

if __name__ == "__main__":
    cli.launch("collect")
