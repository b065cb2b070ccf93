"""The catalogue of the exercises, in the order of the notes."""

from __future__ import annotations

import importlib

from zoo.errors import unknown
from zoo.exercises.exercise import Exercise

#: Each is a module of `zoo.exercises.topics` with an `EXERCISE`.
ORDER = tuple(
    """
    net linear conv2d max_pool2d batch_norm2d flatten dropout relu tanh sigmoid mse_loss bce_loss
    cross_entropy_loss sgd rnn_cell
    """.split()
)


def names() -> list[str]:
    """Return the names of all exercises."""
    return list(ORDER)


def get(name: str) -> Exercise:
    """Return one exercise.

    Raises:
        UsageError: no exercise has this name; the nearest one is named.
    """
    if name not in ORDER:
        raise unknown("exercise", name, ORDER)
    exercise: Exercise = importlib.import_module(f"zoo.exercises.topics.{name}").EXERCISE
    return exercise


def exercises() -> list[Exercise]:
    """Return all exercises. Imports no torch."""
    return [get(name) for name in ORDER]
