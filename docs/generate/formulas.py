"""Formulas: LaTeX to MathML while the site is built, so that no browser has to load a library."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert

#: What pymdownx.arithmatex leaves of $...$ and $$...$$.
_FORMULA = re.compile(r'class="arithmatex">(?:\\\((.*?)\\\)|\\\[(.*?)\\\])', re.S)


def to_mathml(page: str) -> str:
    """Return a page's HTML with every formula of arithmatex as MathML.

    Raises:
        ValueError: a formula has a command that MathML knows no sign for.
    """
    return _FORMULA.sub(_convert, page)


def _convert(match: re.Match[str]) -> str:
    inline, block = match.groups()
    latex = html.unescape(inline if block is None else block).strip()
    mathml = convert(latex, display="inline" if block is None else "block")
    if "\\" in mathml:
        raise ValueError(f"formula {latex!r}: not all of it has a sign in MathML")
    return f'class="arithmatex">{mathml}'
