"""Measures success on the fixed manifest of held-out tasks, per category.

    python launchers/evaluate.py --checkpoint=rl --split=valid_unseen

The same as ``skillrl evaluate``; ``--help`` lists the flags.
"""

from skillrl.cli.main import launch

if __name__ == "__main__":
    launch("evaluate")
