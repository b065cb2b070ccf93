"""The language that the zoo speaks to people: Chinese where the locale is Chinese, else English.

ZOO_LANG=zh or ZOO_LANG=en decides for the zoo alone.
"""

from __future__ import annotations

import locale
import os
from typing import Literal

Language = Literal["zh", "en"]


def current() -> Language:
    """Return the language: that of ZOO_LANG, or of the locale's messages."""
    names = (os.environ.get(name) for name in ("ZOO_LANG", "LC_ALL", "LC_MESSAGES", "LANG"))
    name = next((name for name in names if name), None) or locale.getlocale()[0] or ""
    return "zh" if name.lower().startswith(("zh", "chinese")) else "en"
