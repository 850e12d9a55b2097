"""Plays a list of actions in one game and writes every answer.

    python launchers/replay.py --game=game.tw-pddl --actions=in.json --output=out.json

The same as ``skillrl replay``; ``--help`` lists the flags.
"""

from skillrl.cli.main import launch

if __name__ == "__main__":
    launch("replay")
