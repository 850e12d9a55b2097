"""Runs controls and ablations side by side.

    python launchers/ablate.py --env=alfworld --mock --seeds=0,1,2

The same as ``skillrl ablate``; ``--help`` lists the flags.
"""

from skillrl.cli.main import launch

if __name__ == "__main__":
    launch("ablate")
