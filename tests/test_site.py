"""The site: built as `make docs` does, its links walked, its pages looked at in a real browser."""

from __future__ import annotations

import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urldefrag

import jupytext
import nbformat
import numpy as np
import onnx
import pytest
import torch
from conftest import ROOT
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from test_examples import words
from test_server import Server

import zoo
from docs.generate import (
    cells,
    chinese,
    cost,
    formulas,
    graph,
    learn,
    outputs,
    reference,
    snippets,
)
from docs.generate.words import LANGUAGES
from zoo import lessons
from zoo.bundle.card import ONNX
from zoo.bundle.folder import Bundle, shipped
from zoo.fields import fields
from zoo.network.pretrained import load
from zoo.recipe import Recipe

if TYPE_CHECKING:
    from selenium import webdriver

LESSONS = lessons.lessons()
QUICK = ["tensors"]
#: What a lesson may have on its page, in both languages.
SAMPLE = r"""# 公式

行内公式 $y = xW^\top + b$，独立公式：

$$
\frac{\partial L}{\partial W} = \frac{1}{n} \sum_{i=1}^{n}
\begin{bmatrix} x_1 & x_2 \\ x_3 & x_4 \end{bmatrix} (a + b + c + d + e + f + g + h + i + j)
$$

<details markdown="1"><summary>答案</summary>

解答在此：**对**，$\hat y$。

</details>
"""


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole site, with a page of formulas more; no lesson is run."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("generate"))
    for language in LANGUAGES:
        (folder / "docs" / language / "formulas.md").write_text(SAMPLE, encoding="utf-8")
    code = (
        "import sys; from pathlib import Path; from docs.generate import site\n"
        "docs, built = map(Path, sys.argv[1:])\n"
        "site.generate(docs); sys.exit(site.build(docs, built))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder / "docs", folder / "site"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "site"


class Links(HTMLParser):
    """The links of a page, what it loads, and its anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := values.get(name))}
        if tag == "a" and values.get("href"):
            self.links.append(str(values["href"]))
        elif tag == "link" and values.get("rel") not in ("canonical", "alternate", "prev", "next"):
            self.loads.append(str(values["href"]))
        elif tag in ("img", "script") and values.get("src"):
            self.loads.append(str(values["src"]))


def test_every_link_leads_somewhere_and_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = {path: Links(path) for path in site.rglob("*.html") if path.name != "404.html"}
    assert len(pages) > 2 * (len(LESSONS) + len(shipped()))
    for path, page in pages.items():
        for target in page.loads:
            assert not re.match(r"[a-z]+:|//", target), f"{path}: loads {target}"
        for target in (*page.links, *page.loads):
            if re.match(r"(https?|mailto):", target):
                continue
            address, anchor = urldefrag(target)
            leads_to = (
                (path.parent / unquote(address.partition("?")[0])).resolve() if address else path
            )
            if leads_to.is_dir():
                leads_to /= "index.html"
            assert leads_to.is_file(), f"{path}: {target}"
            if anchor and leads_to.suffix == ".html":
                assert unquote(anchor) in pages[leads_to].anchors | {"__top"}, f"{path}: {target}"


def test_every_lesson_and_model_has_its_pages(site: Path) -> None:
    for language, folder in (("zh", site), ("en", site / "en")):
        for lesson in LESSONS:
            html = (folder / "learn" / f"{lesson.name}.html").read_text(encoding="utf-8")
            title = lesson.heading_zh if language == "zh" else lesson.heading_en
            assert f">{title}<" in html
            assert f"files/notebooks/{language}/{lesson.name}.ipynb" in html
            assert f"files/examples/{lesson.name}.py" in html
            assert not lesson.picture or f"lessons/{lesson.picture}" in html
        for name in shipped():
            html = (folder / "models" / f"{name}.html").read_text(encoding="utf-8")
            card = zoo.card(name)
            for text in (card.score, f"{card.parameters:,}", *card.files.values()):
                assert text in html
        commands = (folder / "reference" / "commands.html").read_text(encoding="utf-8")
        assert "--top" in commands
        api = (folder / "reference" / "python.html").read_text(encoding="utf-8")
        assert "zoo.Session" in api or "Session" in api


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """The site as a server has it."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(params=[(1280, 900), (390, 844)], ids=["desktop", "phone"])
def screen(request: Any, browser: webdriver.Chrome) -> webdriver.Chrome:
    """The browser at one width."""
    width, height = request.param
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    return browser


def shown(browser: webdriver.Chrome, name: str) -> None:
    """Assert that a page fits the width, that its pictures are there and the log is empty."""
    wide = browser.execute_script("return document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0, f"{name}: {wide} pixels too wide"
    missing = browser.execute_script(
        "return [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
    )
    assert missing == []
    if folder := os.environ.get("ZOO_SCREENSHOTS"):
        width = browser.execute_script("return innerWidth")
        browser.save_screenshot(str(Path(folder) / f"site-{name}-{width}.png"))
    # The theme asks for a map of each language's part, and does without.
    logged = [entry["message"] for entry in browser.get_log("browser")]
    assert [text for text in logged if not re.search(r"favicon|sitemap\.xml", text)] == []


@pytest.mark.parametrize(
    "page",
    [
        "index", "learn/index", "learn/resnet", "models/index", "models/googlenet",
        "guides/onnx", "reference/commands", "reference/recipe", "reference/python",
        "reference/protocol",
    ],
)  # fmt: skip
def test_a_page_fits_the_screen(page: str, screen: webdriver.Chrome, address: str) -> None:
    for folder, language in (("", "zh"), ("/en", "en")):
        screen.get(f"{address}{folder}/{page}.html")
        assert screen.find_element(By.TAG_NAME, "html").get_attribute("lang") == language
        shown(screen, f"{language}-{page.replace('/', '-')}")


def test_formulas_are_drawn_and_answers_unfold(screen: webdriver.Chrome, address: str) -> None:
    screen.get(f"{address}/formulas.html")
    shown(screen, "formulas")
    drawn = screen.execute_script(
        "return [...document.querySelectorAll('math')]"
        ".map(m => m.checkVisibility() ? m.getBoundingClientRect().height : 0)"
    )
    assert len(drawn) == 3
    inline, block, folded = drawn
    assert block > 2 * inline > 0, "a fraction and a matrix are taller than a line"
    assert folded == 0
    assert "\\" not in screen.find_element(By.TAG_NAME, "article").text
    summary = screen.find_element(By.CSS_SELECTOR, "article summary")
    summary.click()
    assert "解答在此" in screen.find_element(By.TAG_NAME, "article").text


@pytest.mark.parametrize(
    ("query", "title"),
    [
        ("梯度下降", "梯度下降"),
        ("残差", "残差块与 ResNet"),
        ("Gradient descent", "Gradient descent"),
    ],
)
def test_the_search_finds(query: str, title: str, browser: webdriver.Chrome, address: str) -> None:
    folder = "" if re.search(r"[\u4e00-\u9fff]", query) else "/en"
    browser.get(f"{address}{folder}/index.html?q={quote(query)}")
    heads = (
        "return [...document.querySelectorAll('.md-search-result__item h1')]"
        ".map(head => head.textContent.replaceAll('\\u200b', ''))"
    )
    WebDriverWait(browser, 20).until(lambda _: browser.execute_script(heads))
    assert title in browser.execute_script(heads)[0]


def test_the_pages_and_notebooks_are_those_of_the_scripts() -> None:
    stale = [
        path.relative_to(ROOT).as_posix()
        for path, text in learn.files().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    stale += [lesson.name for lesson in LESSONS if outputs.digest(lesson) != record(lesson).script]
    assert stale == [], "make docs"
    assert learn.present() == set(learn.files())


def record(lesson: lessons.Lesson) -> outputs.Record:
    found = outputs.load(lesson.name)
    assert found, f"{lesson.name} was never run: make docs"
    return found


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_a_script_has_the_cells_that_jupytext_reads(lesson: lessons.Lesson) -> None:
    ours = cells.read(lesson.script)
    theirs = jupytext.read(lesson.script, fmt="py:percent").cells
    code = "\n".join(cell.source for cell in ours if cell.kind == "code")
    assert code.replace("\n", "") in "".join(
        cell.source.replace("\n", "") for cell in theirs if cell.cell_type == "code"
    )
    texts = [cell.source.strip() for cell in ours if cell.kind == "markdown"]
    assert texts == [cell.source.strip() for cell in theirs if cell.cell_type == "markdown"]
    languages = [cell.language for cell in ours if cell.kind == "markdown"]
    assert languages == ["zh", "en"] * (len(languages) // 2), "pairs, Chinese first"
    heads = [
        [re.findall(r"^#+", cell.source, re.M) for cell in ours if cell.language == language]
        for language in LANGUAGES
    ]
    assert heads[0] == heads[1], "the same headings in both languages"


@pytest.mark.parametrize(
    "text",
    [
        '"""A · B"""\n# %% [markdown] lang="fr"\n# text\n',
        '"""A · B"""\n# %% [markdown]\ntext = 1\n',
    ],
)
def test_a_script_that_is_not_in_the_format_is_an_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(ValueError, match=r"bad\.py, line [23]: "):
        cells.read(tmp_path / "bad.py")


def executed(name: str, language: str, folder: Path) -> str:
    """Run a notebook; return what it printed."""
    from nbclient import NotebookClient

    path = ROOT / "notebooks" / language / f"{name}.ipynb"
    book = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in book.cells)
    assert "uv pip install" in book.cells[0].source
    assert "--torch-backend cpu" in book.cells[0].source
    NotebookClient(book, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    texts = [
        output.text
        for cell in book.cells
        for output in cell.get("outputs", [])
        if output.get("name") == "stdout"
    ]
    return "".join(texts)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:zmq", "ignore::DeprecationWarning:jupyter")
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "lesson",
    [
        pytest.param(lesson, marks=[] if lesson.name in QUICK else pytest.mark.slow)
        for lesson in LESSONS
    ],
    ids=lambda lesson: lesson.name,
)
def test_a_notebook_prints_what_its_page_shows(
    lesson: lessons.Lesson, language: str, tmp_path: Path
) -> None:
    printed = executed(lesson.name, language, tmp_path)
    assert words(printed) == words("\n".join(record(lesson).printed[language]))
    assert not lesson.picture or (tmp_path / "lesson-output" / lesson.picture).is_file()


@pytest.mark.parametrize("latex", [r"x^2", r"\frac{a}{b}", r"\hat y_i \leq \mathbf{W}", "a < b"])
def test_a_formula_becomes_mathml(latex: str) -> None:
    import html

    page = formulas.to_mathml(f'<span class="arithmatex">\\({html.escape(latex)}\\)</span>')
    ET.fromstring(page)
    assert "<math" in page
    assert "\\" not in page


def test_a_formula_with_an_unknown_command_is_an_error() -> None:
    with pytest.raises(ValueError, match="nosuch"):
        formulas.to_mathml(r'<span class="arithmatex">\(\nosuch x\)</span>')


def model_of(name: str) -> Any:
    return onnx.load_from_string(Bundle.open(name).read(ONNX))


def test_multiply_adds_are_those_that_torch_counts() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    # cnn: two convolutions, 5 x 5 on 24 x 24 and on 8 x 8, and the last layer
    assert cost.multiply_adds(model_of("cnn")) == 24**2 * 10 * 25 + 8**2 * 20 * 250 + 320 * 10
    for name in ("softmax", "cnn", "googlenet", "resnet", "rnn_cell", "logistic"):
        network, card = load(name), zoo.card(name)
        rows = torch.zeros(1, *card.inputs[0].row)
        rows = rows.movedim(-1, 1) if rows.ndim == 4 else rows
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(rows)
        expected = counter.get_total_flops() // 2
        measured = cost.multiply_adds(model_of(name))
        # The first hidden state is zero: torch multiplies by it, the graph does not.
        left_out = 128 * 128 if name == "rnn_cell" else 0
        assert measured == expected - left_out, name


@pytest.mark.parametrize("name", shipped())
def test_a_graph_is_drawn_without_overlaps(name: str) -> None:
    drawing = ET.fromstring(graph.svg(model_of(name), name))
    space = {"svg": "http://www.w3.org/2000/svg"}
    width, height = (float(drawing.attrib[key]) for key in ("width", "height"))
    boxes = [
        tuple(float(rect.attrib[key]) for key in ("x", "y", "width", "height"))
        for rect in drawing.findall("svg:rect", space)[1:]
    ]
    assert 3 <= len(boxes) <= 40
    for x, y, w, h in boxes:
        assert 0 <= x <= width - w
        assert 0 <= y <= height - h
    for (x, y, w, _), (next_x, next_y, _, _) in pairwise(sorted(boxes, key=lambda b: (b[1], b[0]))):
        assert next_y > y or next_x >= x + w
    texts = {text.text for text in drawing.findall("svg:text", space)}
    card = zoo.card(name)
    assert {tensor.name for tensor in (*card.inputs, *card.outputs)} <= texts
    if name == "cnn":
        assert {"Conv 5×5, 1 → 10", "Conv 5×5, 10 → 20", "Gemm 320 → 10"} <= texts


@pytest.mark.parametrize("name", shipped())
def test_the_code_of_a_models_page_runs(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    card = zoo.card(name)
    for code in (snippets.python(card), snippets.onnxruntime(card)):
        exec(compile(code, name, "exec"), {})
        assert capsys.readouterr().out


def test_the_curl_commands_of_the_models_pages_answer(
    zoo_command: list[str], tmp_path: Path, digits: Any
) -> None:
    if not shutil.which("curl"):
        pytest.skip("no curl")
    (tmp_path / "demo-report" / "digits").mkdir(parents=True)
    digit = Image.fromarray(digits.inputs[0, :, :, 0])
    digit.save(tmp_path / "demo-report" / "digits" / "digit-0000.png")
    server = Server(zoo_command, "--no-access-log")
    try:
        for name in shipped():
            command = snippets.curl(zoo.card(name)).replace("http://127.0.0.1:8000", server.url)
            answer = subprocess.run(
                command, shell=True, capture_output=True, text=True, check=True
            ).stdout
            assert "error" not in answer
            assert ('"label":"7"' in answer) == ("/v1/predict" in command)
    finally:
        server.stop()


def test_the_reference_is_complete_in_both_languages() -> None:
    names = [field.name for field in fields()]
    assert names == list(Recipe.__struct_fields__)
    assert all(field.help for field in fields())
    for language in LANGUAGES:
        pages = reference.pages(language)
        assert "/v2/models/{model}/infer" in pages["reference/protocol.md"]
        assert "## zoo predict" in pages["reference/commands.md"]


def test_lines_of_chinese_are_joined_without_a_space() -> None:
    text = "## 标题\n第一行，\n第二行\nEnglish 字\n\n- 项目，\n  续行\n\n```text\n输出\n输出\n```\n"
    joined = "## 标题\n第一行，第二行\nEnglish 字\n\n- 项目，续行\n\n```text\n输出\n输出\n```\n"
    assert chinese.join_lines(text) == joined


def test_pictures_are_compared_by_how_they_look(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 2, (100, 100, 3), np.uint8)
    grey = np.full((100, 100, 3), 128, np.uint8)
    other = grey.copy()
    other[:50, :50] = 0
    pictures = {"grey": grey, "hinted": grey + noise, "other": other, "small": grey[:50]}
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    same = functools.partial(outputs.look_the_same, tmp_path / "grey.png")
    assert same(tmp_path / "hinted.png")
    assert not same(tmp_path / "other.png")
    assert not same(tmp_path / "small.png")
    assert not same(tmp_path / "missing.png")
