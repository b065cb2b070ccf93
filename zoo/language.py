"""The language that the zoo speaks to people: Chinese where the locale is Chinese, else English.

ZOO_LANG=zh or ZOO_LANG=en decides for the zoo alone. The English texts stand in the code; their
Chinese is in the gettext catalog `zoo/locale/zh/LC_MESSAGES/messages.po` (`make catalog` compiles
it). Typer's own words are in it, too: it asks the same domain.
"""

from __future__ import annotations

import functools
import gettext
import locale
import os
from pathlib import Path
from typing import Literal

Language = Literal["zh", "en"]

LOCALE = Path(__file__).parent / "locale"


@functools.cache
def current() -> Language:
    """Return the language: that of ZOO_LANG, or of the locale's messages."""
    names = (os.environ.get(name) for name in ("ZOO_LANG", "LC_ALL", "LC_MESSAGES", "LANG"))
    name = next((name for name in names if name), None) or locale.getlocale()[0] or ""
    return "zh" if name.lower().startswith(("zh", "chinese")) else "en"


def install() -> None:
    """Let gettext, and Typer with it, speak the language; for the start of a program."""
    if current() == "zh":
        os.environ["LANGUAGE"] = "zh"
        gettext.bindtextdomain("messages", LOCALE)


def translate(text: str) -> str:
    """Return a text of the program in the language; a text that the catalog lacks stays English."""
    return chinese(text) if text and current() == "zh" else text


def chinese(text: str) -> str:
    """Return the Chinese of a text of the program; a text that the catalog lacks stays English."""
    return _catalog().gettext(text)


@functools.cache
def _catalog() -> gettext.NullTranslations:
    return gettext.translation("messages", LOCALE, ["zh"], fallback=True)
