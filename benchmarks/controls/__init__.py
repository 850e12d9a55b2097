"""Policies without understanding, which show what an environment pays for nothing."""
