"""Chinese text: a line break inside a paragraph is no space, as Markdown would make it."""

from __future__ import annotations

import re

#: Chinese characters and fullwidth punctuation.
_WIDE = r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]"
_ENDS, _BEGINS = re.compile(_WIDE + "$"), re.compile(rf"\s*{_WIDE}")


def join_lines(text: str) -> str:
    """Return Markdown in which the lines of a Chinese paragraph are joined; code stays."""
    lines: list[str] = []
    in_code = False
    for line in text.split("\n"):
        fence = line.lstrip().startswith("```")
        joins = not (in_code or fence) and lines and not lines[-1].startswith("#")
        if joins and _ENDS.search(lines[-1]) and _BEGINS.match(line):
            lines[-1] += line.strip()
        else:
            lines.append(line)
        in_code ^= fence
    return "\n".join(lines)
