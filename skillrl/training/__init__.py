"""Pure functions of training: advantages, losses, batches, updates, checkpoints."""
