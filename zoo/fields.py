"""The fields of a recipe, from `zoo/recipe.py`: name, type, default and the comment above it.

`zoo train --help`, the shell's completion of `--set` and the site's reference show them.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple


class Field(NamedTuple):
    """A field of the recipe, as text."""

    name: str
    type: str
    default: str
    help: str


def fields() -> list[Field]:
    """Return the fields in the order of the class; the default is "" where there is none."""
    source = Path(__file__).with_name("recipe.py").read_text(encoding="utf-8")
    lines = source.splitlines()
    tree = ast.parse(source)
    (recipe,) = (n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Recipe")
    found = []
    for node in recipe.body:
        if not isinstance(node, ast.AnnAssign):
            continue
        assert isinstance(node.target, ast.Name)
        comment: list[str] = []
        number = node.lineno - 2
        while lines[number].strip().startswith("#:"):
            comment.insert(0, lines[number].strip().removeprefix("#:").strip())
            number -= 1
        default = ast.unparse(node.value) if node.value else ""
        found.append(Field(node.target.id, _type(node.annotation), default, " ".join(comment)))
    return found


def names() -> list[str]:
    """Return what `--set` takes, for the shell's completion: "epochs="."""
    return [f"{field.name}=" for field in fields()]


def _type(node: ast.expr) -> str:
    """Return a type as people say it: the choices of a Literal, the range of a number."""
    text = ast.unparse(node)
    names = {
        "Positive": "int, >= 1",
        "Natural": "int, >= 0",
        "NotNegative": "float, >= 0",
        "Fraction": "float, >= 0, < 1",
        "Annotated[float, Meta(gt=0)]": "float, > 0",
        "Annotated[float, Meta(ge=0, le=1)]": "float, >= 0, <= 1",
    }
    if text.startswith("Literal["):
        return text.removeprefix("Literal[").removesuffix("]").replace("'", "")
    return names.get(text, text)
