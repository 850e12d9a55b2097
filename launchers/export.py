"""Writes a policy of a run as a Hugging Face directory, with its skills and a model card.

    python launchers/export.py --workdir=runs/alfworld-seed0 --output=my-agent

The same as ``skillrl export``; ``--help`` lists the flags.
"""

from skillrl.cli.main import launch

if __name__ == "__main__":
    launch("export")
