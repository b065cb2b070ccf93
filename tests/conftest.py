"""What tests share: the command line, in a process of its own or in this one; digits; exports."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["ZOO_LANG"] = "en"  # whatever this machine's is; tests/test_language.py has the other

import numpy as np
import onnx
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import cli
from zoo.bundle.folder import Bundle, weights_dir
from zoo.datasets import mnist

if TYPE_CHECKING:
    from selenium import webdriver

    from zoo.export.bundle import Exported
    from zoo.export.variant import Variant

ROOT = Path(__file__).parent.parent
if "PYTEST_XDIST_WORKER" in os.environ:
    # As many test processes as cores: with several threads in each they would wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


#: Runs a job under a limit of its addresses and notes its peak memory. It is small: a process
#: counts as its own the memory of the one that started it, and a test process has some gigabytes.
_LAUNCHER = """
import resource, subprocess, sys
limit = int(sys.argv[2]) or resource.RLIM_INFINITY
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
code = subprocess.run(sys.argv[3:]).returncode
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""


def measured(
    job: list[str], *, addresses: int = 0, stdin: Any = None
) -> tuple[subprocess.CompletedProcess[bytes], int]:
    """Run a job; return what came of it, and its peak of resident memory in bytes."""
    note = Path("peak.txt")
    launcher = [sys.executable, "-c", _LAUNCHER, str(note), str(addresses)]
    done = subprocess.run([*launcher, *job], stdin=stdin, capture_output=True, check=False)
    return done, int(note.read_text()) * (1 if sys.platform == "darwin" else 1024)


def wait_for(came: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something has come; a busy machine gets its time."""
    end = time.monotonic() + seconds
    while not came():
        assert time.monotonic() < end, f"did not come in {seconds} s"
        time.sleep(0.01)


def contract_of(metadata: dict[str, str]) -> dict[str, Any]:
    """Read a file's metadata: text as it is, lists and structures from JSON."""
    return {
        key: json.loads(value) if value[:1] in "[{" else value for key, value in metadata.items()
    }


def unversioned(file: bytes) -> bytes:
    """Return an ONNX file without the version of the zoo that wrote it."""
    model = onnx.load_from_string(file)
    model.ClearField("producer_version")
    kept = [entry for entry in model.metadata_props if entry.key != "zoo_version"]
    assert len(kept) == len(model.metadata_props) - 1
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    return model.SerializeToString(deterministic=True)


def pytest_xdist_auto_num_workers() -> int:
    """One process more than processors: many tests wait, for a server or for a time to pass."""
    return len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(2)) + 1


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs in a folder of its own, so that nothing leans on the repository's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ZOO_MODELS", raising=False)


@pytest.fixture(scope="session", autouse=True)
def _bytecode(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compile what the tests' processes import once, not in each: torch takes half the time."""
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        os.environ["PYTHONPYCACHEPREFIX"] = str(tmp_path_factory.mktemp("bytecode"))


@pytest.fixture(scope="session", autouse=True)
def _operators_once() -> Iterator[None]:
    """Let torch's exporter read its table of operators once, not in each of hundreds of exports."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    with pytest.MonkeyPatch.context() as patch:
        once = functools.cache(ONNXRegistry.from_torchlib)
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(once))
        yield


@pytest.fixture(scope="session")
def zoo_command() -> list[str]:
    """The command line as another process would run it."""
    return [sys.executable, "-c", "import cli; cli.main()"]


@pytest.fixture
def zoo_process(zoo_command: list[str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `zoo` in a process of its own."""

    def run(*args: object, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*zoo_command, *map(str, args)],
            capture_output=True,
            text=True,
            env=os.environ | env,
            timeout=300,
            check=False,
        )

    return run


def _forked(words: list[str], said: Path) -> None:
    """Run `zoo` in a forked process; a training there writes a checkpoint after every epoch."""
    from zoo.training import loop

    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    loop.CHECKPOINT_EVERY = -1.0
    sys.argv = ["zoo", *words]
    cli.main()


@pytest.fixture(scope="session")
def zoo_fork() -> Callable[..., Any]:
    """Start `zoo` in a process forked from one that has imported torch, its stderr in a file."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["zoo.training.start", "torch._dynamo", "torch.onnx", "onnxscript", "onnxruntime", "pytest"]
    )

    def fork(*words: object, said: Path) -> Any:
        process = context.Process(target=_forked, args=([*map(str, words)], said))
        process.start()
        return process

    return fork


@pytest.fixture
def zoo_cli() -> Callable[..., Result]:
    """Run `zoo` in this process: quick, with the real parser and the real exit codes."""

    def run(*args: object, input: bytes | None = None) -> Result:
        return CliRunner().invoke(cli.app, [str(arg) for arg in args], input=input)

    return run


@pytest.fixture(scope="session")
def torch_outputs() -> Callable[[str], np.ndarray]:
    """torch's first output for a shipped model's whole test set, computed once."""
    from zoo.evaluation.evaluate import dataset
    from zoo.network.pipeline import Pipeline, run_torch
    from zoo.network.pretrained import load

    @functools.cache
    def outputs(name: str) -> np.ndarray:
        bundle = Bundle.open(name)
        pipeline = Pipeline(load(bundle), bundle.card.spec, bundle.card.task).eval()
        return run_torch(pipeline, dataset(bundle).test.inputs)

    return outputs


@pytest.fixture(scope="session")
def exported(torch_outputs: Callable[[str], np.ndarray]) -> Callable[[str, Variant], Exported]:
    """Export a variant of a shipped model, once for all tests."""
    from zoo.export import bundle

    build = bundle.build  # before `exports_once` replaces it

    @functools.cache
    def export(name: str, variant: Variant) -> Exported:
        with pytest.MonkeyPatch.context() as patch:
            if variant.preprocess == "graph":
                patch.setattr(bundle, "run_torch", lambda *_: torch_outputs(name))
            return build(Bundle.open(name), variant)

    return export


@pytest.fixture
def exports_once(monkeypatch: pytest.MonkeyPatch, exported: Callable[..., Exported]) -> None:
    """What `zoo export` of a shipped model writes is exported once for all tests."""
    from zoo.export import bundle

    monkeypatch.setattr(
        bundle, "build", lambda opened, variant: exported(opened.card.name, variant)
    )


@pytest.fixture(scope="session")
def digits() -> mnist.Split:
    """The 10,000 test digits."""
    return mnist.load_test()


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write an array of bytes as an IDX file."""
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(head + array.astype(np.uint8).tobytes())


@pytest.fixture(scope="session")
def small_mnist(tmp_path_factory: pytest.TempPathFactory, digits: mnist.Split) -> Path:
    """IDX files of 4,000 test digits to train on and 1,000 to test on: quick epochs."""
    folder = tmp_path_factory.mktemp("data") / "small"
    folder.mkdir()
    for part, rows in (("train", slice(1000, 5000)), ("t10k", slice(1000))):
        write_idx(folder / f"{part}-images-idx3-ubyte", digits.inputs[rows, :, :, 0])
        write_idx(folder / f"{part}-labels-idx1-ubyte", digits.targets[rows])
    return folder


@pytest.fixture(scope="session")
def logistic_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Logistic regression, 30 epochs, with the seeds 1, 2 and 3."""
    folder = tmp_path_factory.mktemp("seeds")
    runs = {seed: folder / f"seed-{seed}" for seed in (1, 2, 3)}
    for seed, run in runs.items():
        words = ["train", "logistic", "--epochs", "30", "--seed", str(seed), "--out", str(run)]
        done = CliRunner().invoke(cli.app, words)
        assert (done.exit_code, done.stdout) == (0, f"{run}\n"), done.stderr
    return runs


@pytest.fixture
def digit_folder(tmp_path: Path, digits: mnist.Split) -> Path:
    """A folder of 30 real digits as PNG files, in two sub-folders."""
    for number in range(30):
        folder = tmp_path / "digits" / ("a" if number < 15 else "b")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.inputs[number, :, :, 0]).save(folder / f"{number:02d}.png")
    return tmp_path / "digits"


@pytest.fixture(scope="session")
def quick_run(tmp_path_factory: pytest.TempPathFactory, zoo_command: list[str]) -> Path:
    """A bundle from a short real training through the command line: cnn, one epoch."""
    run = tmp_path_factory.mktemp("runs") / "cnn"
    done = subprocess.run(
        [
            *zoo_command,
            "train",
            "cnn",
            "--epochs",
            "1",
            "--batch-size",
            "256",
            "--set",
            "teacher=",
            "--out",
            str(run),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{run}\n"
    return run


@pytest.fixture
def broken_copy(tmp_path: Path) -> Path:
    """A copy of the shipped linear bundle, to be damaged."""
    return Path(shutil.copytree(weights_dir() / "linear", tmp_path / "bundle"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Headless Chromium. In CI it has to be there; elsewhere its absence skips, with the reason."""
    from selenium import webdriver

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        assert not os.environ.get("CI"), "CI installs chromium and chromium-driver"
        pytest.skip("no chromium and chromedriver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for word in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--lang=en", f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):  # fmt: skip
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


@pytest.fixture(scope="session")
def cuda() -> None:
    """Skip, with the reason, where there is no working GPU."""
    from zoo.runtime.providers import cuda_missing

    if reason := cuda_missing():
        pytest.skip(f"no GPU: {reason}")


def rows_of(result: Result) -> list[dict[str, Any]]:
    """The rows that `zoo predict --json` printed."""
    assert result.exit_code in (0, 3), result.stderr
    rows: list[dict[str, Any]] = json.loads(result.stdout)["rows"]
    return rows


def labels(rows: list[dict[str, Any]]) -> list[int]:
    """Their labels, as class numbers."""
    return [int(row["label"]) for row in rows]
