"""Plays a list of actions in one game and writes every answer.

    python launchers/replay.py --game=game.tw-pddl --actions=in.json --output=out.json

The same as ``skillrl replay``; ``--help`` lists the flags.
"""

from skillrl import cli

if __name__ == "__main__":
    cli.launch("replay")
