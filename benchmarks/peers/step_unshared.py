"""This project's step of `benchmarks/train_step.py` where nothing but one token is shared."""

import step_own

step_own.main(shared=False)
