"""Runs controls and ablations side by side and says, with intervals, what skills do."""
