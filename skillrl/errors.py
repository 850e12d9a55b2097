"""The one exception that people are meant to read.

A `SkillRLError` says what was wrong, where, and what to do about it. Launchers
print it as one paragraph and exit with status 2; anything else is a bug and
keeps its traceback.
"""


class SkillRLError(Exception):
    """Bad input or surroundings, with the remedy in the message."""
