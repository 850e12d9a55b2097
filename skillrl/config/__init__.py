"""Holds the settings of a run: their fields, their rules, and the presets that fill them."""
