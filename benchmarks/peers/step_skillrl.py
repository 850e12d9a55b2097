"""This project's side of `benchmarks/train_step.py`: prefixes shared by their group."""

import step_own

step_own.main(shared=True)
