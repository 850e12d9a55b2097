"""Trains by pure functions: advantages, losses, batches, updates, checkpoints."""
