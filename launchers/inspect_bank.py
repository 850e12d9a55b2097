"""Shows a skill bank.

    python launchers/inspect_bank.py runs/alfworld-seed0

The same as ``skillrl inspect``; ``--help`` lists the flags.
"""

from skillrl.cli.main import launch

if __name__ == "__main__":
    launch("inspect")
