"""Exercises that check themselves: stubs to fill in, and what is right or wrong in them.

    zoo.exercises.exercises()                        # name, title, lesson
    zoo.exercises.stub.write(exercise, path)
    zoo.exercises.check(path)                        # -> Report

No torch here: the process that runs a student's file imports it.
"""

from zoo.exercises import stub
from zoo.exercises.catalogue import ORDER, exercises, get, names
from zoo.exercises.check import Report, check
from zoo.exercises.exercise import Check, Exercise, Text
from zoo.exercises.verdict import lines, printed

__all__ = [
    "ORDER", "Check", "Exercise", "Report", "Text", "check", "exercises", "get", "lines", "names",
    "printed", "stub",
]  # fmt: skip
