"""The command in Chinese: nothing untranslated, lines that fit the terminal, the right language."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from conftest import ROOT

import cli
from zoo.fields import fields
from zoo.help import wrap
from zoo.table import width

CATALOG = ROOT / "zoo" / "locale" / "zh" / "LC_MESSAGES" / "messages.po"
Cli = Callable[..., Any]
COMMANDS: dict[str, Any] = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]


def said() -> Iterator[str]:
    """Yield what the help pages say, and the headings of `zoo info` and of tables."""
    group: Any = typer.main.get_command(cli.app)
    for page in (group, *COMMANDS.values()):
        yield page.help
        for param in page.params:
            yield getattr(param, "help", None) or ""
            yield getattr(param, "rich_help_panel", None) or ""
    yield from (field.help for field in fields())
    source = (ROOT / "cli.py").read_text(encoding="utf-8")
    for heading in re.findall(r"(?:print_table\(\[|rows = \[)\[(\".*?)\]", source):
        yield from re.findall(r'"([^"]*\w[^"]*)"', heading)


def test_every_text_has_its_chinese() -> None:
    with CATALOG.open("rb") as file:
        catalog = read_po(file, locale="zh")
    texts = set(filter(None, said()))
    assert len(texts) > 100
    missing = [text for text in texts if text not in catalog or not catalog[text].string]
    assert missing == []
    for message in catalog:
        if message.id:
            assert re.findall(r"{\w*[!:]?\w*}", message.id) == re.findall(
                r"{\w*[!:]?\w*}", message.string
            )


def test_the_compiled_catalog_is_that_of_the_texts() -> None:
    compiled = io.BytesIO()
    with CATALOG.open("rb") as file:
        write_mo(compiled, read_po(file, locale="zh"))
    assert CATALOG.with_suffix(".mo").read_bytes() == compiled.getvalue(), "make catalog"


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_in_chinese_fits_the_terminal(command: str, zoo_process: Cli) -> None:
    words = [command] if command else []
    page = zoo_process(*words, "--help", ZOO_LANG="zh", COLUMNS="80")
    assert page.returncode == 0, page.stderr
    assert page.stdout.startswith("用法：")
    assert "显示本帮助并退出。" in page.stdout
    for line in page.stdout.splitlines():
        assert width(line) <= 80, line
        assert not line.strip().startswith(("，", "。", "；")), line


@pytest.mark.parametrize(
    ("settings", "chinese"),
    [
        ({"ZOO_LANG": "zh"}, True),
        ({"ZOO_LANG": "", "LANG": "zh_CN.UTF-8"}, True),
        ({"ZOO_LANG": "", "LC_ALL": "zh_TW.UTF-8", "LANG": "de_DE.UTF-8"}, True),
        ({"ZOO_LANG": "en", "LANG": "zh_CN.UTF-8"}, False),
        ({"ZOO_LANG": "", "LC_ALL": "", "LANG": "de_DE.UTF-8"}, False),
    ],
)
def test_the_language_is_that_of_the_locale(
    settings: dict[str, str], chinese: bool, zoo_process: Cli
) -> None:
    listed = zoo_process("list", **{"LC_ALL": "", "LC_MESSAGES": "", **settings})
    assert ("参数量" in listed.stdout) == chinese
    assert ("parameters" in listed.stdout) == (not chinese)


def test_tables_and_cards_count_cells(zoo_process: Cli) -> None:
    rows = zoo_process("list", ZOO_LANG="zh").stdout.splitlines()
    starts = {width(row[: -len(re.split(r"  +", row)[-1])]) for row in rows}
    assert len(starts) == 1
    lines = zoo_process("info", "cnn", ZOO_LANG="zh").stdout.splitlines()
    assert {width(line[: re.search(r"  +\S", line).end() - 1]) for line in lines[:4]} == {12}  # type: ignore[union-attr]


def test_lines_break_between_chinese_characters_and_words() -> None:
    assert wrap("把模型导出为 ONNX；结果与 torch 一致才会写出文件。", 20) == [
        "把模型导出为 ONNX；", "结果与 torch 一致才", "会写出文件。",
    ]  # fmt: skip


def test_an_unknown_command_is_said_in_chinese(zoo_process: Cli) -> None:
    refused = zoo_process("nope", ZOO_LANG="zh")
    assert refused.returncode == 2
    assert "没有命令" in refused.stderr
