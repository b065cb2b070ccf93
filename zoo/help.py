"""Help: the pages of `zoo --help` and of its commands, in sections.

Chinese is wrapped by the cells of the terminal that it takes, two a character; Click counts
characters, and breaks lines at spaces, which Chinese does not have.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from zoo import language
from zoo.table import width

_HelpFormatter: Any = typer.Context.formatter_class
#: What a line is broken between: a word, or a wide character with the punctuation behind it.
_UNIT = re.compile(r"\s+|(?:[\u2e80-\uffff]|[^\s\u2e80-\uffff]+)[，。；：、）！？”]*")


class Formatter(_HelpFormatter):  # type: ignore[misc]
    """Formats a help page that has Chinese in it."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """Write how the command is called."""
        super().write_usage(prog, args, language.translate("Usage:") if prefix is None else prefix)

    def write_text(self, text: str) -> None:
        """Write a paragraph, indented and wrapped."""
        indent = " " * self.current_indent
        for paragraph in text.split("\n\n"):
            for line in wrap(paragraph, self.width - self.current_indent):
                self.write(f"{indent}{line}\n")

    def write_dl(
        self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """Write options or commands and what they are, in two columns."""
        indent = " " * self.current_indent
        first = min(max(width(name) for name, _ in rows), col_max) + col_spacing
        for name, text in rows:
            lines = wrap(
                language.translate(text), max(20, self.width - self.current_indent - first)
            )
            if width(name) > first - col_spacing:
                self.write(f"{indent}{name}\n")
                name = ""
            for line in lines or [""]:
                self.write(f"{indent}{name}{' ' * (first - width(name))}{line}".rstrip() + "\n")
                name = ""


def wrap(text: str, cells: int) -> list[str]:
    """Break a text into lines of at most so many cells."""
    lines = [""]
    for unit in _UNIT.findall(text.strip()):
        if unit.isspace():
            lines[-1] += " " if lines[-1] else ""
        elif lines[-1] and width(lines[-1] + unit) > cells:
            lines[-1] = lines[-1].rstrip()
            lines.append(unit)
        else:
            lines[-1] += unit
    return lines


class _Page:
    """What the help of the group and of a command have in common."""

    def __init__(self, *args: Any, help: str | None = None, **settings: Any) -> None:
        settings["help"] = language.translate(help) if help else None
        super().__init__(*args, **settings)
        for param in self.params:  # type: ignore[attr-defined]
            if getattr(param, "help", None):
                param.help = language.translate(param.help)

    def get_help(self: Any, ctx: Any) -> str:
        if language.current() == "en":
            return str(super().get_help(ctx))  # type: ignore[misc]
        formatter = Formatter(width=ctx.terminal_width, max_width=ctx.max_content_width)
        self.format_help(ctx, formatter)
        return str(formatter.getvalue().rstrip("\n"))


class Group(_Page, TyperGroup):
    """The group of all commands."""


class Command(_Page, TyperCommand):
    """A command that prints its options in sections; Typer itself does so with rich alone."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then the options by section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if (record := param.get_help_record(ctx)) is not None:
                section = getattr(param, "rich_help_panel", None) or "Options"
                kind = "Arguments" if param.param_type_name == "argument" else section
                sections.setdefault(kind, []).append(record)
        for title, records in sections.items():
            with formatter.section(language.translate(title)):
                formatter.write_dl(records)


class RecipeCommand(Command):
    """A command whose help explains the fields of a recipe, too."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, then the fields that `--set` takes."""
        from zoo.fields import fields

        super().format_options(ctx, formatter)
        records = []
        for field in fields():
            text = language.translate(field.help)
            if field.default not in ("", "''"):
                default = language.translate("default: {}").format(field.default.strip("'"))
                text += f"  [{default}]"
            records.append((field.name, text))
        with formatter.section(language.translate("Recipe fields, for --set FIELD=VALUE")):
            formatter.write_dl(records)
