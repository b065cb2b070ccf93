"""A plain table on stdout: the one printer of all commands that list something."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from unicodedata import east_asian_width

from zoo import language


def print_table(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> None:
    """Print rows of cells, the header first; the columns numbered in `right` are flush right.

    The header is translated.
    """
    rows = [list(map(language.translate, rows[0])), *rows[1:]]
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = []
        for number, cell in enumerate(row):
            padding = " " * (widths[number] - width(cell))
            cells.append(padding + cell if number in right else cell + padding)
        print("  ".join(cells).rstrip())


def width(cell: str) -> int:
    """Return how many columns of a terminal a text takes: a Chinese character takes two."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in cell)
