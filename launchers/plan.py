"""Plans a run on devices that are not at hand: memory, time, and whether it fits.

    python launchers/plan.py --config=alfworld_qwen2.5_7b --devices=8 --device_kind=h100

The same as ``skillrl plan``; ``--help`` lists the flags.
"""

from skillrl.cli.main import launch

if __name__ == "__main__":
    launch("plan")
