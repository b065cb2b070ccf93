"""READMEs and guides: the same in both languages, and what they show is what runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from test_server import Server

GUIDES = ROOT / "docs" / "en" / "guides"
#: English page -> the same in Chinese.
PAGES = {ROOT / "README.md": ROOT / "README.zh-CN.md"} | {
    path: ROOT / "docs" / "zh" / "guides" / path.name for path in sorted(GUIDES.glob("*.md"))
}
TEXT = {path: path.read_text() for path in PAGES}
README = TEXT[ROOT / "README.md"]


def blocks(text: str, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", text, re.S)


def without_comments(code: str) -> str:
    return re.sub(r"\s*#.*", "", code)


#: Page and code of every Python block.
PYTHON = [(path, code) for path, text in TEXT.items() for code in blocks(text, "python")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_both_languages_show_the_same_code_and_figures(page: Path) -> None:
    chinese_text = PAGES[page].read_text()
    for kind in ("sh", "console", "python", "powershell", "yaml", "nginx"):
        english, chinese = (
            [without_comments(code) for code in blocks(text, kind)]
            for text in (TEXT[page], chinese_text)
        )
        assert english == chinese
    heads = [len(re.findall(r"^#+ ", text, re.M)) for text in (TEXT[page], chinese_text)]
    assert heads[0] == heads[1]


def test_the_readmes_are_short() -> None:
    for page in ("README.md", "README.zh-CN.md"):
        assert len((ROOT / page).read_text().splitlines()) <= 150


def test_every_link_of_the_readmes_leads_somewhere() -> None:
    for page in ("README.md", "README.zh-CN.md"):
        for target in re.findall(r"\]\(([^)#]+)", (ROOT / page).read_text()):
            assert "://" in target or (ROOT / target).exists(), (page, target)


def test_every_command_shown_parses(zoo_cli: Callable[..., Any]) -> None:
    text = "".join("".join(blocks(text, "(?:sh|console)")) for text in TEXT.values())
    shown = set(re.findall(r"^(?:\$ )?zoo (\w+)", text, re.M))
    assert shown >= {
        "list", "info", "train", "evaluate", "export", "predict", "verify", "doctor", "demo",
        "serve", "lesson", "exercise", "check", "benchmark", "compare", "reproduce", "push",
    }  # fmt: skip
    for command in shown:
        help_text = zoo_cli(command, "--help").stdout
        for line in re.findall(rf"^(?:\$ )?zoo {command} (.*)", text, re.M):
            for word in shlex.split(line, comments=True):
                if word.startswith("--"):
                    assert word.partition("=")[0] in help_text, line


@pytest.mark.parametrize("command", ["list", "info cnn", "evaluate cnn", "verify"])
def test_what_the_guides_show_is_what_is_printed(
    command: str, zoo_cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    (shown,) = (
        block.removeprefix(f"$ zoo {command}\n")
        for text in TEXT.values()
        for block in blocks(text, "console")
        if block.startswith(f"$ zoo {command}\n")
    )
    printed = zoo_cli(*command.split()).stdout
    assert re.sub(r"(?m)^latency .*\n", "", printed) == shown  # measured then and there


def readme_commands() -> list[tuple[str, list[str]]]:
    """The commands of the README's console blocks, each with the lines of output it shows."""
    lines = "".join(blocks(README, "console")).splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
    return [
        (lines[start][2:], lines[start + 1 : end])
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True)
    ]


def test_every_command_of_the_readme_runs_as_it_stands_there(
    tmp_path: Path, zoo_command: list[str]
) -> None:
    """In a folder with what a clone has; "..." in a shown output stands for lines left out."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    server: Server | None = None
    for command, shown in readme_commands():
        words = shlex.split(command.removesuffix("&"))
        if words[:2] == ["zoo", "serve"]:
            server = Server(zoo_command, *words[2:])
            continue
        if words[0] == "curl":
            assert server is not None
            words = [word.replace("http://127.0.0.1:8000", server.url) for word in words]
        else:
            assert words[0] == "zoo"
            words = [*zoo_command, *words[1:]]
        done = subprocess.run(
            words, cwd=tmp_path, capture_output=True, text=True, check=True,
            env={**os.environ, "ZOO_LANG": "en"},
        )  # fmt: skip
        printed = iter(done.stdout.splitlines())
        for line in shown:
            if line == "...":
                continue
            beginning = line.removesuffix(" ...")
            assert any(each.startswith(beginning) for each in printed), (command, line, done.stdout)
        if words[0] == "curl":
            assert json.loads(done.stdout)["predictions"][0]["label"] == "7"
    assert server is not None
    assert server.stop()[0] == 0


@pytest.mark.parametrize(
    ("page", "code"), PYTHON, ids=[f"{page.stem}-{n}" for n, (page, _) in enumerate(PYTHON)]
)
def test_every_python_block_runs(page: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    program = compile(code, page.name, "exec")
    if "ENTRY = Entry(" not in code:
        exec(program, {})
