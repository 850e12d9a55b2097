"""Runs phase two: distils collected trajectories into a skill bank.

    python launchers/distill.py

The same as ``skillrl distill``; ``--help`` lists the flags.
"""

from skillrl.cli.main import launch

if __name__ == "__main__":
    launch("distill")
