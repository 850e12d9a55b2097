"""Plays one episode by hand.

    python launchers/play.py --env=alfworld --task=valid_unseen/0007

The same as ``skillrl play``; ``--help`` lists the flags.
"""

from skillrl.cli.main import launch

if __name__ == "__main__":
    launch("play")
