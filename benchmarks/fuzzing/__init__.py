"""What `benchmarks/fuzz.py` feeds to the readers: damaged inputs, and what must hold of each."""
