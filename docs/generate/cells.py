"""A lesson's script as cells: Markdown in Chinese and in English, and code.

The scripts are in jupytext's percent format: a line "# %%" begins a code cell, a line
'# %% [markdown] lang="zh"' a Markdown cell, whose lines are comments. What stands before the first
such line is a code cell too, if it is more than the docstring.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from docs.generate.words import Language

_MARKER = re.compile(r"# %%(?P<markdown> \[markdown\])?(?: lang=\"(?P<language>zh|en)\")?\s*")


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        kind: "markdown" or "code".
        source: the text, without the comment signs of a Markdown cell.
        line: of the script, where the source begins, from 1.
        language: of a Markdown cell; None is for both languages.
    """

    kind: Literal["markdown", "code"]
    source: str
    line: int
    language: Language | None = None


def read(script: Path) -> list[Cell]:
    """Return the cells of a script, without its docstring and empty ones.

    Raises:
        ValueError: a line that begins a cell is not in the format, or a Markdown cell has a line
            that is not a comment.
    """
    text = script.read_text(encoding="utf-8")
    return list(_cells(text, script.name))


def code(cells: list[Cell]) -> list[Cell]:
    """Return the code cells."""
    return [cell for cell in cells if cell.kind == "code"]


def _cells(text: str, name: str) -> Iterator[Cell]:
    lines = text.splitlines()
    first = ast.parse(text).body[0]
    begin = first.end_lineno or 0  # the docstring's last line: the catalogue makes sure of it
    markers = [n for n, line in enumerate(lines) if n >= begin and line.startswith("# %%")]
    for start, end in zip([begin - 1, *markers], [*markers, len(lines)], strict=True):
        match = _MARKER.fullmatch(lines[start]) if start >= begin else None
        if start >= begin and match is None:
            raise ValueError(
                f'{name}, line {start + 1}: expected "# %%" or "# %% [markdown] lang=...", '
                f"not {lines[start]!r}"
            )
        body, line = lines[start + 1 : end], start + 2
        while body and not body[0].strip():
            body, line = body[1:], line + 1
        while body and not body[-1].strip():
            body = body[:-1]
        if not body:
            continue
        if match and match["markdown"]:
            # the type checker cannot see that the values are literals
            language: Language | None = {"zh": "zh", "en": "en"}.get(match["language"])  # type: ignore[assignment]
            source = "\n".join(_uncommented(body, line, name))
            yield Cell("markdown", source, line, language)
        else:
            yield Cell("code", "\n".join(body), line)


def _uncommented(body: list[str], line: int, name: str) -> Iterator[str]:
    for number, text in enumerate(body, line):
        if text and not text.startswith("#"):
            raise ValueError(f"{name}, line {number}: a line of a Markdown cell begins with '#'")
        yield text.removeprefix("#").removeprefix(" ").rstrip()
