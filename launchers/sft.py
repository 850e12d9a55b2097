"""Runs phase three: the cold start on skill-augmented demonstrations.

    python launchers/sft.py

The same as ``skillrl sft``; ``--help`` lists the flags.
"""

from skillrl.cli.main import launch

if __name__ == "__main__":
    launch("sft")
