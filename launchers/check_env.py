"""Plays an environment and says what breaks the contract.

    python launchers/check_env.py --env=mine --set env.module=mine.py

The same as ``skillrl check``; ``--help`` lists the flags.
"""

from skillrl.cli.main import launch

if __name__ == "__main__":
    launch("check")
