"""The READMEs: the same in both languages, and what they show is what runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Any

import pytest
from conftest import ROOT

PAGES = {name: (ROOT / name).read_text() for name in ("README.md", "README.zh-CN.md")}


def blocks(text: str, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", text, re.S)


def without_comments(code: str) -> str:
    return re.sub(r"\s*#.*", "", code)


def test_both_languages_show_the_same_code_and_figures() -> None:
    for kind in ("sh", "console", "python"):
        english, chinese = (
            [without_comments(code) for code in blocks(text, kind)] for text in PAGES.values()
        )
        assert english == chinese
    heads = [len(re.findall(r"^#+ ", text, re.M)) for text in PAGES.values()]
    assert heads[0] == heads[1]


def test_every_command_of_the_readme_parses(zoo_cli: Callable[..., Any]) -> None:
    text = "".join(blocks(PAGES["README.md"], "(?:sh|console)"))
    shown = set(re.findall(r"^(?:\$ )?zoo (\w+)", text, re.M))
    assert shown >= {
        "list", "info", "train", "evaluate", "export", "predict", "verify", "doctor", "demo",
    }  # fmt: skip
    for command in shown:
        help_text = zoo_cli(command, "--help").stdout
        for line in re.findall(rf"^(?:\$ )?zoo {command} (.*)", text, re.M):
            for word in shlex.split(line, comments=True):
                if word.startswith("--"):
                    assert word.partition("=")[0] in help_text, line


@pytest.mark.parametrize("command", ["list", "info cnn", "evaluate cnn", "verify"])
def test_what_the_readme_shows_is_what_is_printed(
    command: str, zoo_cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    (shown,) = (
        block.removeprefix(f"$ zoo {command}\n")
        for block in blocks(PAGES["README.md"], "console")
        if block.startswith(f"$ zoo {command}\n")
    )
    assert zoo_cli(*command.split()).stdout == shown


@pytest.mark.parametrize("place", range(len(blocks(PAGES["README.md"], "python"))))
def test_every_python_block_of_the_readme_runs(place: int, digit_folder: Any) -> None:
    code = blocks(PAGES["README.md"], "python")[place]
    if "ENTRY = Entry(" in code:
        compile(code, "README.md", "exec")
        return
    exec(compile(code, "README.md", "exec"), {})
