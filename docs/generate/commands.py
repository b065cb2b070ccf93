"""The commands of `zoo` as Markdown, from Typer.

python -m docs.generate.commands     # in the language of ZOO_LANG, as `zoo --help` is
"""

from __future__ import annotations

import re
from typing import Any

from zoo import language


def markdown() -> str:
    """Return a section for each command: what it does, its usage, its arguments and options."""
    import typer

    import cli

    chinese = language.current() == "zh"
    head = "| 参数 | 说明 |" if chinese else "| argument or option | what it is |"
    group: Any = typer.main.get_command(cli.app)
    parts = []
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        context = command.make_context(name, [], resilient_parsing=True)
        usage = " ".join(command.collect_usage_pieces(context))
        parts += [
            f"## zoo {name}",
            _text(command.help or ""),
            f"```text\nzoo {name} {usage}\n```",
        ]
        rows = [param.get_help_record(context) for param in command.get_params(context)]
        lines = [f"| `{_code(names)}` | {_plain(help)} |" for names, help in filter(None, rows)]
        parts.append("\n".join([head, "|---|---|", *lines]))
    return "\n\n".join(parts) + "\n"


def _text(help: str) -> str:
    return " ".join(help.replace("\b", "").split())


def _code(text: str) -> str:
    return text.replace("|", "\\|")


def _plain(help: str) -> str:
    """Return a help text whose signs mean nothing in a table of Markdown."""
    return re.sub(r"([|*_<\[\]])", r"\\\1", _text(language.translate(help)))


if __name__ == "__main__":
    print(markdown(), end="")
