"""The lessons of the notes: their catalogue, and what the scripts share. No torch."""

from zoo.lessons.catalogue import ORDER, Lesson, get, lessons, names, run
from zoo.lessons.checks import agree, beside, beside_loss, say
from zoo.lessons.pictures import figure, picture_path, save

__all__ = [
    "ORDER", "Lesson", "agree", "beside", "beside_loss", "figure", "get", "lessons", "names",
    "picture_path", "run", "save", "say",
]  # fmt: skip
