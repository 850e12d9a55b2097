"""What prompts say and demonstrators know, per environment, for benchmarks/advice.py."""
