"""Runs phase four: GRPO while the skill bank evolves.

    python launchers/rl.py

The same as ``skillrl rl``; ``--help`` lists the flags.
"""

from skillrl.cli.main import launch

if __name__ == "__main__":
    launch("rl")
