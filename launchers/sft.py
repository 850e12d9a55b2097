"""Phase three: the cold start on skill-augmented demonstrations.

    python launchers/sft.py

The same as ``skillrl sft``; ``--help`` lists the flags.
"""

from skillrl import cli

if __name__ == "__main__":
    cli.launch("sft")
