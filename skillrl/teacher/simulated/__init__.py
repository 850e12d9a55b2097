"""Teaches without a language model: by rules that read the request, and nothing else.

It stands in where there is no network: it finds causes in the text of failed episodes,
procedures in that of successes, and words thoughts from goal and action. Its texts are short
and its vocabulary small. It never touches an environment.

What it knows of one kind of tasks is a `Domain`; which one a request is about, its recordings
show. Of tasks that no domain understands it can say what holds everywhere.
"""

from skillrl.teacher.simulated.domains import vocabulary
from skillrl.teacher.simulated.teacher import SimulatedTeacher

__all__ = ["SimulatedTeacher", "vocabulary"]
