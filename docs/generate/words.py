"""The two languages of the site."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

Language = Literal["zh", "en"]
#: The first one is at the root of the site.
LANGUAGES: tuple[Language, ...] = get_args(Language)
ROOT = Path(__file__).parent.parent.parent


def pick(language: Language, chinese: str, english: str) -> str:
    """Return one of two texts: the one in the language."""
    return chinese if language == "zh" else english
