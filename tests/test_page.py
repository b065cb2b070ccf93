"""The page at `/` in a real browser: draw a digit, choose a file, both widths, both languages."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait
from test_server import Server

import zoo
from zoo import images
from zoo.datasets import mnist
from zoo.spec import ImageSpec, TableSpec

SHOTS = os.environ.get("ZOO_SCREENSHOTS")
PICTURE = ROOT / "docs" / "page.png"
MODELS = ("cnn", "googlenet", "resnet", "rnn", "rnn_cell", "softmax")


@pytest.fixture(scope="module")
def server(zoo_command: list[str]) -> Iterator[Server]:
    server = Server(zoo_command, "--no-access-log")
    yield server
    assert server.stop()[0] == 0


@pytest.fixture(params=[(1280, 900), (390, 844)], ids=["desktop", "phone"])
def page(request: Any, server: Server, browser: webdriver.Chrome) -> webdriver.Chrome:
    """The page, freshly loaded, at one width."""
    width, height = request.param
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    browser.get(server.url + "/")
    browser.execute_script("localStorage.clear()")
    browser.get(server.url + "/")
    until(browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, "[data-card]")) == 8)
    return browser


def until(browser: webdriver.Chrome, what: Callable[[], Any]) -> None:
    WebDriverWait(browser, 20).until(lambda _: what())


def answers(browser: webdriver.Chrome) -> dict[str, str]:
    return {
        model: browser.find_element(By.CSS_SELECTOR, f'[data-model="{model}"] [data-answer]').text
        for model in MODELS
    }


def shoot(browser: webdriver.Chrome, name: str) -> None:
    if SHOTS:
        width = browser.execute_script("return innerWidth")
        browser.save_screenshot(str(Path(SHOTS) / f"{name}-{width}.png"))


def errors(browser: webdriver.Chrome) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def compare_with_the_readme(browser: webdriver.Chrome) -> None:
    """The picture in the READMEs shows the page as it is; delete it, and this makes it."""
    with Image.open(io.BytesIO(browser.get_screenshot_as_png())) as shot:
        page = shot.convert("RGB").crop((24, 12, 1240, 668))  # the upper part, no scrollbar
    if not PICTURE.exists():
        page.save(PICTURE, optimize=True)
    with Image.open(PICTURE) as picture:
        now, shown = (  # small, so that fonts and measured milliseconds do not matter
            np.asarray(each.convert("L").resize((80, 43), Image.Resampling.BOX), np.float64)
            for each in (page, picture)
        )
    difference = np.abs(now - shown)
    assert difference.mean() < 4, f"{PICTURE.name} is stale: delete it and run this test"


def test_a_drawn_digit_is_read_by_every_model(page: webdriver.Chrome) -> None:
    pad = page.find_element(By.ID, "pad")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", pad)
    side = min(pad.size["width"], pad.size["height"])
    stroke = [(-0.22, -0.28), (0.24, -0.28), (0.12, -0.05), (0.0, 0.15), (-0.08, 0.34)]
    pen = ActionChains(page, duration=60)
    pen.move_to_element_with_offset(pad, int(stroke[0][0] * side), int(stroke[0][1] * side))
    pen.click_and_hold()
    for x, y in stroke[1:]:
        pen.move_to_element_with_offset(pad, int(x * side), int(y * side))
    pen.release().perform()
    until(page, lambda: set(answers(page).values()) == {"7"})
    summary = page.find_element(By.ID, "summary")
    assert summary.get_attribute("aria-live") == "polite"
    until(page, lambda: "7" in summary.text)
    latency = page.find_element(By.CSS_SELECTOR, '[data-model="cnn"] [data-latency]').text
    assert "ms" in latency
    shoot(page, "drawn")
    if page.execute_script("return innerWidth") > 500:
        compare_with_the_readme(page)
    page.find_element(By.ID, "clear").click()
    until(page, lambda: "7" not in answers(page).values())
    assert errors(page) == []


def test_the_sample_digits_work_from_the_keyboard(page: webdriver.Chrome) -> None:
    for digit in "038":
        button = page.find_element(By.CSS_SELECTOR, f'[data-digit="{digit}"]')
        page.execute_script("arguments[0].focus()", button)
        assert page.switch_to.active_element == button
        button.send_keys(" ")
        until(page, lambda digit=digit: set(answers(page).values()) == {digit})


def test_a_chosen_file_is_read_and_a_bad_one_is_said_so(
    page: webdriver.Chrome, tmp_path: Path, digits: mnist.Split
) -> None:
    Image.fromarray(255 - digits.inputs[0, :, :, 0]).resize((200, 200)).save(tmp_path / "7.png")
    (tmp_path / "bad.png").write_bytes(b"nonsense")
    chooser = page.find_element(By.ID, "file")
    chooser.send_keys(str(tmp_path / "7.png"))
    until(page, lambda: set(answers(page).values()) == {"7"})
    until(page, lambda: page.find_elements(By.CSS_SELECTOR, "#files figure img"))
    (seen,) = page.find_elements(By.CSS_SELECTOR, "#files figure img")
    until(page, lambda: seen.get_property("naturalWidth") == 28)
    spec = zoo.card("cnn").spec
    assert isinstance(spec, ImageSpec)
    file = base64.b64decode(seen.get_attribute("src").partition(",")[2])
    with Image.open(io.BytesIO(file)) as png:
        np.testing.assert_array_equal(png, images.decode(tmp_path / "7.png", spec)[:, :, 0])
    assert seen.value_of_css_property("image-rendering") == "pixelated"
    assert seen.size["width"] >= 2 * 28
    caption = page.find_element(By.CSS_SELECTOR, "#files figcaption")
    assert caption.text == "As the model sees it"
    Select(page.find_element(By.ID, "language")).select_by_value("zh")
    assert caption.text == "模型看到的样子"
    Select(page.find_element(By.ID, "language")).select_by_value("en")
    wide = page.execute_script("return document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0
    shoot(page, "file")
    chooser.send_keys(str(tmp_path / "bad.png"))
    problem = page.find_element(By.ID, "problem")
    until(page, lambda: "not an image in a known format" in problem.text)
    assert problem.get_attribute("role") == "alert"


def test_both_languages_and_no_overflow(page: webdriver.Chrome) -> None:
    html = page.find_element(By.TAG_NAME, "html")
    assert html.get_attribute("lang") == "en"
    for language, lang in (("zh", "zh-CN"), ("en", "en")):
        Select(page.find_element(By.ID, "language")).select_by_value(language)
        until(page, lambda lang=lang: html.get_attribute("lang") == lang)
        wide = page.execute_script("return document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0
        text = page.find_element(By.TAG_NAME, "body").text
        assert ("清除" in text or "清空" in text) is (language == "zh")
        shoot(page, language)
    Select(page.find_element(By.ID, "language")).select_by_value("zh")
    page.refresh()
    until(page, lambda: page.find_element(By.TAG_NAME, "html").get_attribute("lang") == "zh-CN")


def test_the_cards_show_every_model_with_its_pictures(page: webdriver.Chrome) -> None:
    assert len(page.find_elements(By.CSS_SELECTOR, "[data-card]")) == 8
    for picture in page.find_elements(By.CSS_SELECTOR, "[data-card] img"):
        page.execute_script("arguments[0].scrollIntoView()", picture)
        until(page, lambda picture=picture: picture.get_property("naturalWidth"))
        assert picture.get_attribute("alt")
    text = page.find_element(By.CSS_SELECTOR, '[data-card="resnet"]').text
    assert "41,514" in text
    assert "99." in text
    shoot(page, "cards")
    outside = page.execute_script(
        "return performance.getEntriesByType('resource').map(e => new URL(e.name).host)"
    )
    assert set(outside) == {page.current_url.split("/")[2]}


def test_a_server_that_is_gone_is_said_so(
    browser: webdriver.Chrome, zoo_command: list[str]
) -> None:
    server = Server(zoo_command, "cnn", "--no-access-log")
    browser.get(server.url + "/")
    until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "[data-card]"))
    server.stop()
    browser.find_element(By.CSS_SELECTOR, '[data-digit="1"]').click()
    until(browser, lambda: browser.find_element(By.ID, "problem").text)


def test_a_table_model_is_tried_with_its_example_values(
    page: webdriver.Chrome, server: Server
) -> None:
    for model in ("linear", "logistic"):
        card = page.find_element(By.CSS_SELECTOR, f'[data-card="{model}"]')
        spec = zoo.card(model).spec
        assert isinstance(spec, TableSpec)
        card.find_element(By.TAG_NAME, "summary").click()
        fields = card.find_elements(By.CSS_SELECTOR, "form label")
        assert [field.text for field in fields] == list(spec.columns)
        page.execute_script("arguments[0].requestSubmit()", card.find_element(By.TAG_NAME, "form"))
        output = card.find_element(By.TAG_NAME, "output")
        until(page, lambda output=output: output.text not in ("", "…"))
        values = [float(f.find_element(By.TAG_NAME, "input").get_property("value")) for f in fields]
        rows = zoo.Session(model, device="cpu").run(np.array([values], np.float32))
        labels = zoo.card(model).labels
        best = rows[-1][0].argmax()
        want = f"{rows[0][0, 0]:.4g}" if not labels else labels[best]
        assert output.text.startswith(want)


def test_the_chinese_page_says_limits_and_data_in_chinese(page: webdriver.Chrome) -> None:
    Select(page.find_element(By.ID, "language")).select_by_value("zh")
    for card in page.find_elements(By.CSS_SELECTOR, "[data-card]"):
        limits = card.find_element(By.CLASS_NAME, "limits")
        assert limits.get_attribute("lang") == "zh-CN"
        data = card.find_elements(By.TAG_NAME, "dd")[2].text
        assert all(any("\u4e00" <= c <= "\u9fff" for c in text) for text in (limits.text, data))


def test_the_bars_are_seen_in_forced_colors(page: webdriver.Chrome) -> None:
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "forced-colors", "value": "active"}]}
    )
    try:
        page.find_element(By.CSS_SELECTOR, '[data-digit="3"]').click()
        until(page, lambda: answers(page)["cnn"] == "3")
        bar = page.find_element(By.CSS_SELECTOR, '[data-model="cnn"] .top i')
        assert "gradient" in bar.value_of_css_property("background-image")
        assert bar.value_of_css_property("forced-color-adjust") == "none"
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_progress_is_shown_while_a_picture_is_read(
    page: webdriver.Chrome, tmp_path: Path, digits: mnist.Split
) -> None:
    Image.fromarray(digits.inputs[0, :, :, 0]).save(tmp_path / "seven.png")
    page.execute_script(  # the answers wait until the test lets them go
        "const real = window.fetch; const gate = new Promise((go) => { window.letGo = go; });"
        "window.fetch = async (...words) => { await gate; return real(...words); };"
    )
    page.find_element(By.ID, "file").send_keys(str(tmp_path / "seven.png"))
    summary = page.find_element(By.ID, "summary")
    until(page, lambda: summary.text == "Reading seven.png …")
    button = page.find_element(By.CSS_SELECTOR, "#files button")
    assert button.get_attribute("aria-busy") == "true"
    page.execute_script("window.letGo()")
    until(page, lambda: button.find_element(By.TAG_NAME, "b").text == "7")
    assert button.get_attribute("aria-busy") is None
    until(page, lambda: summary.text.startswith("7, predicted by 6 of 6 models"))
