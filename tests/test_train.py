"""Training through the command line: what it writes, and that a stop costs nothing."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import cli
import zoo
from zoo.bundle.card import CARD, ONNX, WEIGHTS, Stretch
from zoo.bundle.folder import Bundle, weights_dir
from zoo.training import checkpoint, loop

SHORT = ("--epochs", "3", "--batch-size", "250")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def test_a_run_is_a_whole_bundle(quick_run: Path) -> None:
    names = {path.name for path in quick_run.iterdir()}
    assert names == {
        "card.json", "model.safetensors", "model.onnx", "log.jsonl", "curves.png", "confusion.png",
        "recipe.json", "checkpoint.safetensors", "checkpoint.previous.safetensors",
    }  # fmt: skip
    card = zoo.card(quick_run)
    Bundle.open(quick_run).check()
    assert card.test["accuracy"] > 0.93
    assert card.training.command == (
        "zoo train cnn --set epochs=1 --set batch_size=256 --set teacher="
    )
    (line,) = map(json.loads, (quick_run / "log.jsonl").read_text().splitlines())
    assert line["epoch"] == 1
    assert line["validation"] == card.validation
    for name in ("curves.png", "confusion.png"):
        with Image.open(quick_run / name) as image:
            assert min(image.size) > 200
    assert zoo.load(quick_run)(zoo_input()).shape == (2, 10)


def zoo_input() -> Any:
    return torch.zeros(2, 1, 28, 28)


def wait_for(what: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def step_of(run: Path) -> int:
    if not (run / checkpoint.NAME).exists():
        return -1
    return checkpoint.load(run)[0].step


def has_steps(run: Path) -> bool:
    return step_of(run) > 0


@pytest.fixture(scope="module")
def options(small_mnist: Path) -> tuple[str, ...]:
    """A short training of rnn, which has Muon and AdamW, with augmentation."""
    return ("train", "rnn", "--data", str(small_mnist), *SHORT, "--set", "rotate=8")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, options: tuple[str, ...]) -> Path:
    """An uninterrupted training."""
    run = tmp_path_factory.mktemp("whole") / "run"
    result = CliRunner().invoke(cli.app, [*options, "--out", str(run)])
    assert result.exit_code == 0, result.stderr
    return run


@pytest.fixture(scope="module")
def processes(
    tmp_path_factory: pytest.TempPathFactory,
    zoo_fork: Callable[..., Any],
    options: tuple[str, ...],
) -> dict[signal.Signals | None, tuple[Path, int, str]]:
    """The same training in four processes, at the same time: run, exit code and stderr of each.

    One is uninterrupted, the others are stopped by a signal after their first epoch.
    """
    folder = tmp_path_factory.mktemp("processes")
    runs = {stop: folder / (stop.name if stop else "whole") for stop in (*SIGNALS, None)}
    started = {
        stop: zoo_fork(*options, "--out", run, said=run.with_suffix(".said"))
        for stop, run in runs.items()
    }
    for stop in SIGNALS:
        wait_for(functools.partial(has_steps, runs[stop]))
        os.kill(started[stop].pid, stop)
    results: dict[signal.Signals | None, tuple[Path, int, str]] = {}
    for stop, run in runs.items():
        started[stop].join(300)
        results[stop] = (run, started[stop].exitcode, run.with_suffix(".said").read_text())
    return results


def assert_same_bytes(run: Path, other: Path, *, same: bool = True) -> None:
    for name in ("model.safetensors", "model.onnx"):
        assert ((run / name).read_bytes() == (other / name).read_bytes()) is same


def test_the_same_seed_gives_the_same_bytes_in_another_process(
    whole: Path, processes: dict[signal.Signals | None, tuple[Path, int, str]]
) -> None:
    run, code, said = processes[None]
    assert code == 0, said
    assert_same_bytes(run, whole)


def test_another_seed_gives_another_model(logistic_runs: dict[int, Path]) -> None:
    assert_same_bytes(logistic_runs[2], logistic_runs[1], same=False)


@pytest.mark.parametrize("stop", SIGNALS)
def test_a_stopped_and_resumed_training_ends_with_the_same_bytes(
    stop: signal.Signals,
    processes: dict[signal.Signals | None, tuple[Path, int, str]],
    whole: Path,
    options: tuple[str, ...],
    zoo_cli: Callable[..., Any],
) -> None:
    run, code, said = processes[stop]
    assert not (run / CARD).exists(), "it was to be stopped before its end"
    assert "Traceback" not in said
    assert step_of(run) > 0
    if stop is signal.SIGKILL:
        assert code == -signal.SIGKILL
    else:
        assert code == 130
        assert f"interrupted at step {step_of(run)} of 45" in said, "a checkpoint of that very step"
        assert f"zoo train rnn --resume {run}" in said

    refused = zoo_cli("train", "cnn", "--resume", run)
    assert refused.exit_code == 2
    assert "holds a checkpoint of model 'rnn', not of 'cnn'" in refused.stderr
    again = zoo_cli(*options, "--out", run)
    assert again.exit_code == 2
    assert "already holds a run" in again.stderr
    unfinished = zoo_cli("predict", run, "x.png")
    assert unfinished.exit_code == 2
    assert "is an unfinished run" in unfinished.stderr

    done = zoo_cli("train", "rnn", "--resume", run)
    assert done.exit_code == 0, done.stderr
    assert_same_bytes(run, whole)
    losses = [
        [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]
        for folder in (run, whole)
    ]
    assert losses[0] == losses[1]


def test_resuming_a_finished_run_makes_its_bundle_again(
    whole: Path, zoo_cli: Callable[..., Any], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    (run / CARD).unlink()
    (run / ONNX).unlink()
    assert zoo_cli("train", "--resume", run).exit_code == 0
    assert (run / ONNX).read_bytes() == (whole / ONNX).read_bytes()
    assert zoo.card(run).test == zoo.card(whole).test


@pytest.fixture
def _threads() -> Iterator[None]:
    """Give the test process its number of threads back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_threads")
def test_each_part_of_a_training_has_its_number_of_threads(
    zoo_cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop() -> None:
        wait_for(lambda: has_steps(run))
        os.kill(os.getpid(), signal.SIGTERM)

    run = Path("run").resolve()
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", -1.0)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # torch read it long ago; so nothing else is chosen
    torch.set_num_threads(1)
    stopper = threading.Thread(target=stop)
    stopper.start()
    assert zoo_cli("train", "logistic", "--epochs", 60, "--out", run).exit_code == 130
    stopper.join()
    steps = step_of(run)
    other = shutil.copytree(run, "other")
    torch.set_num_threads(2)
    assert zoo_cli("train", "--resume", run).exit_code == 0
    training = zoo.card(run).training
    assert training.stretches == (Stretch(0, 1), Stretch(steps, 2))
    assert training.threads == 2
    assert f", 1 thread, from step {steps} on 2; zoo train" in zoo_cli("info", run).stdout

    torch.set_num_threads(1)  # only the bundle is made again: nothing is trained with it
    (run / CARD).unlink()
    assert zoo_cli("train", "--resume", run).exit_code == 0
    assert zoo.card(run).training == training

    monkeypatch.delenv("OMP_NUM_THREADS")  # where nobody chooses, it is as before the stop
    torch.set_num_threads(2)
    done = zoo_cli("train", "--resume", other)
    assert "1 CPU thread, as many as before (OMP_NUM_THREADS sets their number)" in done.stderr
    assert zoo.card("./other").training.stretches == ()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[: len(data) // 2], "is not a complete checkpoint"),
        (lambda data: b"", "is not a complete checkpoint"),
        (lambda data: b"\x80\x04junk", "is not a complete checkpoint"),
    ],
)
def test_damaged_checkpoints_are_refused_by_name(
    whole: Path, tmp_path: Path, damage: Callable[[bytes], bytes], reason: str,
    zoo_cli: Callable[..., Any],
) -> None:  # fmt: skip
    path = tmp_path / checkpoint.NAME
    path.write_bytes(damage((whole / checkpoint.NAME).read_bytes()))
    result = zoo_cli("train", "--resume", tmp_path)
    assert result.exit_code == 1
    assert f"{path} {reason}" in result.stderr


def test_a_foreign_safetensors_file_is_no_checkpoint(
    tmp_path: Path, zoo_cli: Callable[..., Any]
) -> None:
    source = weights_dir() / "cnn" / WEIGHTS
    (tmp_path / checkpoint.NAME).write_bytes(source.read_bytes())
    result = zoo_cli("train", "--resume", tmp_path)
    assert result.exit_code == 1
    assert "is not a complete checkpoint of the zoo" in result.stderr


@pytest.mark.parametrize(
    ("args", "code", "reason"),
    [
        (("resnt",), 2, "unknown model 'resnt'. Did you mean 'resnet'?"),
        (("cnn", "--set", "eopchs=3"), 2, "unknown recipe field 'eopchs'. Did you mean 'epochs'?"),
        (("cnn", "--set", "epochs"), 2, "--set epochs: expected FIELD=VALUE"),
        (("cnn", "--set", "lr=fast"), 2, "lr=fast"),
        (("cnn", "--epochs", "0"), 2, "epochs=0"),
        (("cnn", "--set", "optimizer=adm"), 2, "optimizer=adm"),
        (("cnn", "--set", "sampler=balance"), 2, "expected uniform, balanced. Did you mean 'bal"),
        ((), 2, "expected the name of a model"),
        (("--resume", "nowhere"), 2, "nothing to resume"),
        (("cnn", "--resume", "nowhere", "--lr", "3"), 2, "--resume takes recipe"),
        (("cnn", "--out", "/proc/none/run"), 1, "/proc/none"),
        (("cnn", "--out", "file/run"), 1, "file/run: Not a directory"),
        (("linear", "--lr", "10", "--out", "run"), 1, "diverged in epoch"),
    ],
)
def test_bad_input_is_one_clear_line(
    args: tuple[str, ...], code: int, reason: str, zoo_cli: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    result = zoo_cli("train", *args)
    assert result.exit_code == code
    assert reason in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_is_said_so_and_keeps_what_was_there(
    tmp_path: Path, zoo_cli: Callable[..., Any]
) -> None:
    """A real full device: the temporary file is a link to /dev/full."""
    from zoo.files import write_atomic

    path = tmp_path / "card.json"
    path.write_text("old")
    (tmp_path / ".card.json.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"new" * 10_000)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["card.json"]
    assert zoo_cli("export", "linear", "-o", "/dev/full").exit_code == 1
    assert Path("/dev/full").is_char_device(), "a device is written to, not replaced"


def test_without_out_a_free_folder_is_taken(zoo_cli: Callable[..., Any]) -> None:
    for expected in ("runs/linear", "runs/linear-2"):
        result = zoo_cli("train", "linear", "--epochs", "3")
        assert result.exit_code == 0, result.stderr
        assert result.stdout == f"{expected}\n"
        assert Path(expected, "card.json").exists()


def test_every_recipe_option_trains(zoo_cli: Callable[..., Any]) -> None:
    result = zoo_cli(
        "train", "logistic", "--out", "run", "--set", "optimizer=adamw", "--set", "ema_decay=0.9",
        "--set", "schedule=onecycle", "--set", "clip_norm=1", "--set", "keep=last", "--lr", "0.05",
        "--epochs", "20",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    card = zoo.card("run")
    assert (card.recipe.ema_decay, card.recipe.keep, card.training.epoch) == (0.9, "last", 20)
    assert card.test["accuracy"] > 0.9
    assert "--set optimizer=adamw" in card.training.command
