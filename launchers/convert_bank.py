"""Writes a skill bank in another format.

    python launchers/convert_bank.py runs/alfworld-seed0 --output=skills --format=agent_skills

The same as ``skillrl convert``; ``--help`` lists the flags.
"""

from skillrl.cli.main import launch

if __name__ == "__main__":
    launch("convert")
