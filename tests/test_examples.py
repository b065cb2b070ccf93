"""Every lesson runs as its own process and prints and draws what its page shows."""

from __future__ import annotations

import multiprocessing
import os
import re
import runpy
import subprocess
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from PIL import Image

from docs.generate import outputs
from zoo import lessons
from zoo.errors import UsageError, VerificationError, ZooError
from zoo.lessons import catalogue

LESSONS = lessons.lessons()
#: Those that train the longest, each over ten seconds of a core: `make test-all` runs them.
LONG = {
    "softmax_classifier", "weight_initialization", "basic_cnn", "inception_block", "googlenet",
    "resnet", "rnn_and_rnn_cell", "cnn_by_hand",
}  # fmt: skip
RUN = [
    pytest.param(lesson, marks=[pytest.mark.slow] if lesson.name in LONG else [])
    for lesson in LESSONS
]
Done = tuple[int | None, str]  # exit code; what it printed, or why it failed


def script(path: Path, folder: Path, log: Path) -> None:
    """Run a script as `python -W error` does, in this process."""
    os.chdir(folder)
    os.environ["ZOO_LESSON_OUTPUT"] = str(folder / "pictures")
    os.environ["ZOO_LANG"] = "en"
    sys.stdout, sys.stderr = log.open("w"), log.with_suffix(".err").open("w")
    warnings.simplefilter("error")
    # Python 3.12 and 3.13 warn when a DataLoader forks while torch has threads.
    warnings.filterwarnings("ignore", "This process", DeprecationWarning)
    torch.set_num_threads(1)  # two scripts at a time, on perhaps two cores
    runpy.run_path(str(path), run_name="__main__")


@pytest.fixture(scope="session")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lessons")


@pytest.fixture(scope="session")
def finished(
    output: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[dict[str, Future[Done]]]:
    """The scripts to run, two at a time, each in a process forked from one that has torch."""
    context, logs = multiprocessing.get_context("forkserver"), tmp_path_factory.mktemp("logs")
    # torch's optimizers and backward import torch._dynamo and sympy: most of a script's time.
    context.set_forkserver_preload(["torch._dynamo", "zoo.lessons", "zoo.plots", __name__])

    def run(lesson: lessons.Lesson) -> Done:
        log = logs / lesson.name
        process = context.Process(target=script, args=(lesson.script, output, log))
        process.start()
        process.join(120)
        process.kill()  # where it has not ended by then
        process.join()
        if process.exitcode:
            return process.exitcode, log.with_suffix(".err").read_text()
        return 0, log.read_text()

    pool = ThreadPoolExecutor(2)
    long = any(item.get_closest_marker("slow") for item in request.session.items)
    to_run = [lesson for lesson in LESSONS if long or lesson.name not in LONG]
    yield {lesson.name: pool.submit(run, lesson) for lesson in to_run}
    pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("lesson", RUN, ids=lambda lesson: lesson.name)
def test_a_lesson_runs(
    lesson: lessons.Lesson, finished: dict[str, Future[Done]], output: Path
) -> None:
    code, text = finished[lesson.name].result()
    assert code == 0, text
    assert len(text.splitlines()) >= 3
    assert "picture:" not in text or lesson.picture
    if lesson.picture:
        path = output / "pictures" / lesson.picture
        assert f"picture: {path}" in text
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert 300 <= picture.width <= 1200
            assert 200 <= picture.height <= 900
        assert 1_000 < path.stat().st_size < 60_000
        assert outputs.look_the_same(path, outputs.PICTURES / lesson.picture), "stale: make docs"
    record = outputs.load(lesson.name)
    assert record, "never run: make docs"
    assert words(text) == words("\n".join(record.printed["en"])), "stale: make docs"


def words(text: str) -> list[str]:
    """What a lesson printed, without its numbers, which differ between processors, and paths."""
    text = re.sub(r"picture: \S+", "picture", text)
    return re.sub(r"[-+]?\d[\d.,]*(e[-+]\d+)?", "#", text).split()


def test_a_script_runs_by_itself(tmp_path: Path) -> None:
    (lesson,) = (lesson for lesson in LESSONS if lesson.name == "flatten_by_hand")
    done = subprocess.run(
        [sys.executable, "-W", "error", lesson.script],
        capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "largest difference 0.0e+00" in done.stdout
    assert (tmp_path / "lesson-output" / "flatten_by_hand.png").is_file()


def test_nothing_is_written_beside_the_pictures(
    finished: dict[str, Future[Done]], output: Path
) -> None:
    for future in finished.values():
        future.result()
    assert [path.name for path in output.iterdir()] == ["pictures"]
    drawn = {path.name for path in (output / "pictures").iterdir()}
    ran = [lesson for lesson in LESSONS if lesson.name in finished]
    assert drawn == {lesson.picture for lesson in ran if lesson.picture}


def test_the_order_names_every_script() -> None:
    assert sorted(lessons.ORDER) == sorted(path.stem for path in (ROOT / "examples").glob("*.py"))
    assert len(set(lessons.ORDER)) == len(lessons.ORDER)


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_an_entry_is_complete(lesson: lessons.Lesson) -> None:
    assert re.search(r"[\u4e00-\u9fff]", lesson.heading_zh)
    assert lesson.heading_en.isascii()
    assert lesson.script.name == f"{lesson.name}.py"
    for name in lesson.implements:
        assert name.startswith("zoo/")
        assert (ROOT / name).is_file()
    assert lesson.picture in (None, f"{lesson.name}.png")
    assert len(lesson.script.read_text().splitlines()) >= 15


def test_the_pictures_are_those_of_the_lessons() -> None:
    there = {path.name for path in (ROOT / "docs" / "lessons").iterdir()}
    assert there == {lesson.picture for lesson in LESSONS if lesson.picture}


def test_run_runs_a_lesson_here(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ZOO_LESSON_OUTPUT", str(tmp_path))
    lessons.run("flatten_by_hand")
    assert "largest difference 0.0e+00" in capsys.readouterr().out


def test_an_unknown_lesson_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown lesson 'gradient-descent'.*'gradient_descent'"):
        lessons.run("gradient-descent")


def test_a_missing_torch_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ZooError, match=r"lesson 'autograd' needs the package 'torch'.*\[train\]"):
        lessons.run("autograd")


def test_a_script_without_an_entry_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "folder", lambda: tmp_path)
    with pytest.raises(ZooError, match=r"tensors\.py is missing"):
        lessons.get("tensors")
    (tmp_path / "tensors.py").write_text('"""Only English."""\n')
    with pytest.raises(ZooError, match="expected a docstring"):
        lessons.get("tensors")


def test_agree_prints_and_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert lessons.agree("same", [1, 2], [1, 2.5], tolerance=1) == 0.5
    assert "largest difference 5.0e-01" in capsys.readouterr().out
    for ours in ([1.0, 2.1], [1.0, float("nan")], [1.0]):
        with pytest.raises(VerificationError):
            lessons.agree("other", ours, [1.0, 2.0])
