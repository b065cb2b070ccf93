"""`zoo train` under torchrun: real processes over loopback, the weights of one process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.numpy import load_file
from test_train import step_of, wait_for

import zoo
from zoo.bundle.card import WEIGHTS
from zoo.bundle.folder import Bundle
from zoo.errors import UsageError
from zoo.training import checkpoint
from zoo.training.distributed import Workers

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


#: The command line, with a checkpoint after every epoch.
ZOO = "import cli; from zoo.training import loop; loop.CHECKPOINT_EVERY = -1; cli.main()"


def torchrun(*args: object, restarts: int = 0, said: str = "said") -> subprocess.Popen[str]:
    """Start `torchrun --nproc-per-node 2 ... zoo ...`; its stderr goes to the file `said`."""
    Path("zoo_script.py").write_text(ZOO)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "--max-restarts", str(restarts), "zoo_script.py"]
    with open(said, "w") as stderr:
        return subprocess.Popen(
            [*command, *map(str, args)],
            stdout=subprocess.PIPE, stderr=stderr, text=True, env=os.environ | ENVIRONMENT,
        )  # fmt: skip


def ended(process: subprocess.Popen[str], said: str = "said") -> tuple[int, str, str]:
    """Wait for its end; return exit code, stdout and what the zoo said on stderr."""
    out, _ = process.communicate(timeout=200)
    return process.returncode, out, Path(said).read_text()


def worker(process: subprocess.Popen[str], rank: int) -> int:
    """The process number of a worker."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        if f"\0RANK={rank}\0".encode() in Path(f"/proc/{child}/environ").read_bytes():
            return int(child)
    raise AssertionError(f"no worker {rank} among {children}")


def largest_difference(run: Path, other: Path) -> float:
    one, two = (load_file(each / WEIGHTS) for each in (run, other))
    assert one.keys() == two.keys()
    return max(float(abs(one[name] - two[name]).max()) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [
        # SGD: the last bit of an output puts a ReLU on its other side now and then, and AdamW,
        # which divides by the gradients' own size, would make a step of it.
        pytest.param(
            (
                *("softmax", "--epochs", 1, "--batch-size", 1100, "--set", "teacher="),
                *("--set", "optimizer=sgd", "--set", "lr=0.02", "--set", "ema_decay=0"),
            ),
            id="softmax, 50 steps",
        ),
        pytest.param(
            ("logistic", "--epochs", 25, "--batch-size", 340, "--set", "clip_norm=0.1"),
            id="logistic, 50 steps, every second of one row",
        ),
        pytest.param(
            (
                "cnn",
                "--epochs",
                1,
                "--batch-size",
                5500,
                "--set",
                "teacher=",
                "--set",
                "optimizer=sgd",
            ),
            id="cnn, augmented, 10 steps",
        ),
    ],
)
def test_two_workers_train_the_weights_of_one_process(
    recipe: tuple[object, ...], zoo_process: Callable[..., Any]
) -> None:
    alone = zoo_process("train", *recipe, "--set", "keep=last", "--out", "alone", **ENVIRONMENT)
    assert alone.returncode == 0, alone.stderr
    code, out, said = ended(torchrun("train", *recipe, "--set", "keep=last", "--out", "run"))
    assert code == 0, said
    assert out == "run\n", "worker 0 alone prints"
    assert said.count("train ") == 1
    assert said.count(", bundle in run") == 1
    # Two processes add up in another order, and the processor decides how: 4e-6 was seen. A step
    # with a wrong gradient would differ by more than 1e-3.
    assert largest_difference(Path("run"), Path("alone")) < 1e-5
    steps = [checkpoint.load(Path(run))[0].step for run in ("alone", "run")]
    assert steps[0] == steps[1] == (10 if recipe[0] == "cnn" else 50)
    cards_found = [Bundle.open(Path(run)).card for run in ("alone", "run")]
    assert cards_found[0].test["accuracy"] == pytest.approx(cards_found[1].test["accuracy"], 1e-3)
    assert sum(map(sum, cards_found[1].confusion)) == cards_found[1].dataset.test
    command = cards_found[1].training.command
    assert command.startswith(f"torchrun --nproc-per-node 2 --no-python zoo train {recipe[0]} ")
    logs = [
        json.loads(Path(run, "log.jsonl").read_text().splitlines()[-1]) for run in ("alone", "run")
    ]
    assert logs[0]["loss"] == pytest.approx(logs[1]["loss"], rel=1e-5)


LONG = ("train", "softmax", "--epochs", 3, "--batch-size", 1000, "--set", "teacher=")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted training by two workers."""
    folder = tmp_path_factory.mktemp("whole")
    before = Path.cwd()
    os.chdir(folder)
    try:
        code, _, said = ended(torchrun(*LONG, "--out", folder / "run"))
    finally:
        os.chdir(before)
    assert code == 0, said
    return folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_worker_is_replaced_and_the_training_ends_as_it_would_have(
    rank: int, whole: Path
) -> None:
    process = torchrun(*LONG, restarts=1)  # the folder is the default one: runs/softmax
    run = Path("runs/softmax")
    wait_for(lambda: step_of(run) > 0)
    os.kill(worker(process, rank), signal.SIGKILL)
    code, out, said = ended(process)
    assert code == 0, said
    assert out == "runs/softmax\n"
    assert said.count("train softmax on cpu x 2 into runs/softmax") == 2
    assert not (run / "../softmax-2").exists()
    assert (run / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()


@pytest.mark.slow
def test_a_lost_worker_ends_the_run_with_a_clear_message(whole: Path) -> None:
    process = torchrun(*LONG, "--out", "run")
    wait_for(lambda: step_of(Path("run")) > 0)
    os.kill(worker(process, 1), signal.SIGKILL)
    code, out, said = ended(process)
    assert code == 1
    assert out == ""
    (line,) = (line for line in said.splitlines() if line.startswith("zoo: "))
    assert line.startswith("zoo: worker 0 of 2: another worker is lost")
    assert "zoo train --resume run" in line
    code, out, said = ended(torchrun("train", "--resume", "run"))
    assert (code, out) == (0, "run\n"), said
    assert (Path("run") / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("to", ["torchrun", "worker 1"])
def test_a_stop_signal_stops_all_workers_at_the_same_step(to: str, whole: Path) -> None:
    process = torchrun(*LONG, "--out", "run")
    wait_for(lambda: step_of(Path("run")) >= 0)
    time.sleep(0.3)
    os.kill(process.pid if to == "torchrun" else worker(process, 1), signal.SIGTERM)
    code, out, said = ended(process)
    assert code != 0
    assert out == ""
    assert said.count("zoo: interrupted at step ") == 1, said
    step = step_of(Path("run"))
    assert f"interrupted at step {step} of 165" in said
    assert step % 8 == 0
    if to == "torchrun":
        code, _, said = ended(torchrun("train", "--resume", "run"))
        assert code == 0, said
        assert (Path("run") / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()


@pytest.mark.slow
def test_an_error_that_all_workers_meet_is_printed_once() -> None:
    errors = {
        ("softmax", "--engine", "numpy"): "engine 'numpy' trains in one process",
        ("sofmax",): "unknown model 'sofmax'. Did you mean 'softmax'?",
        ("linear", "--lr", "10"): "diverged in epoch",
    }
    processes = {
        args: torchrun("train", *args, "--out", f"run-{args[0]}", said=args[0]) for args in errors
    }
    for args, process in processes.items():
        code, out, said = ended(process, args[0])
        assert code == 1
        assert out == ""
        (line,) = (line for line in said.splitlines() if line.startswith("zoo: "))
        assert errors[args] in line


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("rows", [1, 2, 4, 57, 128])
def test_shares_are_each_row_once_and_their_weights_the_mean(rows: int, count: int) -> None:
    losses = torch.arange(1.0, rows + 1)
    seen, total = [], 0.0
    for rank in range(count):
        mine, weight = Workers(torch.device("cpu"), rank, count, alone=False).own_rows(rows)
        assert len(losses[mine]) > 0
        total += weight * float(losses[mine].mean())
        seen += losses[mine].tolist() if weight else []
    assert seen == losses.tolist()
    assert total / count == pytest.approx(float(losses.mean()))


def test_batch_normalization_needs_one_process_or_cuda() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    assert Workers(torch.device("cpu")).wrap(network) is network
    with pytest.raises(UsageError, match="Sequential has batch normalization"):
        Workers(torch.device("cpu"), 0, 2, alone=False).wrap(network)


def test_alone_nothing_is_shared() -> None:
    alone = Workers(torch.device("cpu"))
    assert alone.own_rows(57) == (slice(None), 1.0)
    assert (alone.any(True), alone.any(False), alone.stop(True, 3)) == (True, False, True)
    assert zoo.card("cnn").training.command.startswith("zoo train cnn")
