"""Killed at any moment, and whatever a checkpoint suffers: a training ends with the same bytes."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from zoo import registry
from zoo.bundle.card import CARD, WEIGHTS
from zoo.bundle.folder import weights_dir
from zoo.bundle.run import Plan, plan
from zoo.errors import ZooError
from zoo.recipe import Recipe
from zoo.training import checkpoint, finish, loop
from zoo.training import start as training
from zoo.training.checkpoint import NAME, PREVIOUS, Progress

RECIPE = registry.get("logistic").recipe.replace(epochs=500)
#: Calls of fsync and rename in one save: the new file and its folder, previous, current, the log.
CALLS = 8


def child(
    run: Path, ready: Any, *, busy: bool = True, die_at: int = -1, export: bool = True
) -> None:
    """Train or go on, in a process of its own.

    busy: write a checkpoint each epoch; die_at: the call of fsync or rename before which it is
    killed; export: make a bundle at the end, not its weights alone.
    """
    os.chdir(run.parent)
    os.dup2(os.open("said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    torch.set_num_threads(1)  # so that it is not slow beside other work
    if busy:
        loop.CHECKPOINT_EVERY = -1.0
    if not export:
        finish.finish = weights_alone
    calls = iter(range(10**9))

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            if next(calls) == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args)

        return call

    if die_at >= 0:
        os.fsync, Path.replace = counted(os.fsync), counted(Path.replace)
    ready.set()
    if checkpoint.exists(run):
        training.resume(run)
    else:
        training.train("logistic", RECIPE, run)


def weights_alone(run: Path, entry: Any, data: Any, network: Any, *rest: Any) -> None:
    safetensors.torch.save_file(network.state_dict(), run / WEIGHTS)


@pytest.fixture(scope="module")
def start() -> Callable[..., Any]:
    """Start `child` in a process of its own, forked from one that has imported torch."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["zoo.training.start", "torch._dynamo", "torch.onnx", "onnxscript", "onnxruntime", "pytest"]
    )

    def start(run: Path, **how: Any) -> Any:
        ready = context.Event()
        process = context.Process(target=child, args=(run, ready), kwargs=how)
        process.start()
        assert ready.wait(60)
        return process

    return start


def ends(process: Any) -> int | None:
    process.join(120)
    code: int | None = process.exitcode
    return code


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, start: Callable[..., Any]) -> bytes:
    """The weights of an uninterrupted training."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert ends(start(run, busy=False)) == 0
    return (run / WEIGHTS).read_bytes()


@pytest.mark.slow
def test_killed_at_twenty_random_moments(
    tmp_path: Path, start: Callable[..., Any], whole: bytes
) -> None:
    run, draw = tmp_path / "run", random.Random(7)
    steps = []
    for _ in range(20):
        process = start(run)
        time.sleep(draw.uniform(0.05, 0.3))
        process.kill()
        assert ends(process) == -signal.SIGKILL, "it was to be killed before its end"
        assert not (run / CARD).exists()
        if checkpoint.exists(run):
            steps.append(checkpoint.load(run)[0].step)
    assert steps == sorted(steps)
    assert steps[-1] > steps[0]
    assert ends(start(run, busy=False)) == 0
    assert (run / WEIGHTS).read_bytes() == whole


def test_killed_between_any_two_steps_of_a_write(
    tmp_path: Path, start: Callable[..., Any], whole: bytes
) -> None:
    run = tmp_path / "run"
    before, seen = -1, set()
    for call in range(2 * CALLS):
        assert ends(start(run, die_at=3 + 2 * CALLS + call)) == -signal.SIGKILL
        step = checkpoint.load(run)[0].step
        assert step > before, "a checkpoint of this attempt, or of the one before it"
        before = step
        seen.add(frozenset(path.name for path in run.glob("*checkpoint*")))
    new, part = "checkpoint.new.safetensors", ".checkpoint.new.safetensors.part"
    assert seen == {
        frozenset({NAME, PREVIOUS}),
        frozenset({NAME, PREVIOUS, part}),
        frozenset({NAME, PREVIOUS, new}),
        frozenset({PREVIOUS, new}),
    }
    assert ends(start(run, busy=False)) == 0
    assert (run / WEIGHTS).read_bytes() == whole
    assert {path.name for path in run.glob("*checkpoint*")} == {NAME, PREVIOUS}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, start: Callable[..., Any]) -> Path:
    """A run that was killed with two checkpoints, an epoch apart."""
    run = tmp_path_factory.mktemp("stopped") / "run"
    assert ends(start(run, die_at=3 + 10 * CALLS)) == -signal.SIGKILL
    return run


@pytest.fixture
def run(stopped: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stopped, tmp_path / "run"))


def foreign(model: str, recipe: Recipe) -> bytes:
    """A whole checkpoint of another training."""
    Path("other").mkdir()
    checkpoint.save(Path("other"), Progress(model=model, recipe=recipe), {})
    return Path("other", NAME).read_bytes()


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda data: data[: random.Random(1).randrange(8, len(data))],
    "flipped byte": lambda data: flipped(data, random.Random(2).randrange(len(data))),
    "flipped tensor": lambda data: flipped(data, len(data) - 3),
    "empty": lambda data: b"",
    "pickle": lambda data: b"\x80\x04junk",
    "weights": lambda data: (weights_dir() / "cnn" / WEIGHTS).read_bytes(),
    "other model": lambda data: foreign("linear", RECIPE),
    "other recipe": lambda data: foreign("logistic", RECIPE.replace(lr=0.2)),
}


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(
    damage: str, run: Path, whole: bytes, start: Callable[..., Any]
) -> None:
    data = (run / NAME).read_bytes()
    (run / NAME).write_bytes(DAMAGES[damage](data))
    assert ends(start(run, busy=False, export=False)) == 0
    first = Path("said").read_text().splitlines()[0]
    assert first.startswith(f"zoo: {run / NAME} is not a complete checkpoint of the zoo: ")
    assert first.endswith("; resuming from checkpoint.previous.safetensors")
    if damage == "other recipe":
        assert "it is of another training: lr 0.2, expected 0.1;" in first
    assert (run / WEIGHTS).read_bytes() == whole
    assert checkpoint.load(run)[0].step == checkpoint.load(run, plan(run))[0].step > 0


def test_every_byte_of_a_checkpoint_counts(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, draw = (run / NAME).read_bytes(), random.Random(3)
    now, before = checkpoint.load(run)[0].step, checkpoint._read(run / PREVIOUS, None)[0].step
    assert now > before
    for _ in range(200):
        place = draw.randrange(len(data))
        for damaged in (data[:place], flipped(data, place), data[:place] + b"\0" + data[place:]):
            (run / NAME).write_bytes(damaged)
            assert checkpoint.load(run)[0].step == before
            assert "is not a complete checkpoint of the zoo" in capsys.readouterr().err


def test_if_neither_is_whole_both_are_named(run: Path, zoo_cli: Callable[..., Any]) -> None:
    (run / NAME).write_bytes(b"")
    (run / PREVIOUS).write_bytes((run / PREVIOUS).read_bytes()[:-1])
    done = zoo_cli("train", "--resume", run)
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    for name in (NAME, PREVIOUS):
        assert f"{run / name} is not a complete checkpoint of the zoo: " in line
    (run / PREVIOUS).unlink()
    assert f"{run / PREVIOUS} is missing" in zoo_cli("train", "--resume", run).stderr


def test_a_damaged_checkpoint_never_takes_the_place_of_a_whole_one(run: Path) -> None:
    """A kill in the middle of the first write after a fallback leaves the one before."""
    (run / NAME).write_bytes(b"torn")
    whole = (run / PREVIOUS).read_bytes()
    progress, tensors = checkpoint.load(run)
    checkpoint.save(run, progress, tensors)
    assert (run / PREVIOUS).read_bytes() == whole
    checkpoint.save(run, progress, tensors)
    assert checkpoint._read(run / PREVIOUS, Plan(progress.model, progress.recipe))


def test_a_model_that_has_changed_since_is_refused(
    run: Path, zoo_cli: Callable[..., Any], tmp_path: Path
) -> None:
    progress, tensors = checkpoint.load(run)
    tensors["network"]["linear.weight"] = torch.zeros(1, 29)
    checkpoint.save(run, progress, tensors)
    done = zoo_cli("train", "--resume", run)
    assert done.exit_code == 1
    assert "the checkpoint does not fit model 'logistic' as it is now: size mismatch" in done.stderr
    (run / PREVIOUS).unlink()
    (run / NAME).write_bytes(foreign("linear", RECIPE))
    with pytest.raises(ZooError, match="it is of another training: model linear"):
        checkpoint.load(run, plan(run))
