"""Runs phase one: plays episodes with the base policy and keeps the trajectories.

    python launchers/collect.py --episodes=64

The same as ``skillrl collect``; ``--help`` lists the flags.
"""

from skillrl.cli.main import launch

if __name__ == "__main__":
    launch("collect")
