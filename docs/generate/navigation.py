"""The navigation of the site: pages in their order, under Learn, Models, Guides, Reference."""

from __future__ import annotations

from typing import Any

from docs.generate import index
from zoo import lessons
from zoo.bundle.folder import shipped

GUIDES = tuple(
    """
    install tour python train from-notes-to-best own-data own-model predict onnx serving speed
    exercises machines structure
    """.split()
)
REFERENCE = ("commands", "recipe", "python", "protocol")


def navigation() -> list[Any]:
    """Return what `nav` of mkdocs.yml would hold; a page's title comes from the page."""
    return [
        "index.md",
        {"Learn": ["learn/index.md", *(f"learn/{name}.md" for name in order())]},
        {"Models": ["models/index.md", *(f"models/{name}.md" for name in shipped())]},
        {"Guides": ["guides/index.md", *(f"guides/{name}.md" for name in GUIDES)]},
        {"Reference": ["reference/index.md", *(f"reference/{name}.md" for name in REFERENCE)]},
    ]


def order() -> list[str]:
    """Return the lessons in the order of the headings of the notes."""
    names = (name for *_, words in index.HEADINGS for name in words.split())
    return [name for name in dict.fromkeys(names) if name in lessons.ORDER]
