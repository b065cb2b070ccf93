"""What must not be imported, and what a wheel holds: looked at from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT

HEAVY = {"torch", "torchvision", "onnx", "onnx_ir", "onnxscript", "matplotlib", "pydantic"}
#: Torch is theirs, and Ray's: no other module imports it.
TORCH_ROOMS = ("zoo/models/", "zoo/network/", "zoo/training/", "zoo/export/", "serve/ray/")
QUICK = ("--seconds", "0.01", "--batch", "1")


def modules_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after running some code."""
    text = f"import sys\n{code}\nprint('MODULES', *{{m.partition('.')[0] for m in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    return set(done.stdout.partition("MODULES ")[2].split())


def command(*args: object) -> str:
    words = ["zoo", *map(str, args)]
    return (
        f"import cli\nsys.argv = {words!r}\n"
        "try: cli.main()\nexcept SystemExit as end: assert not end.code, end.code"
    )


def test_importing_zoo_imports_nearly_nothing() -> None:
    loaded = modules_after("import zoo, serve, cli")
    assert not loaded & {*HEAVY, "onnxruntime", "numpy", "PIL"}


@pytest.mark.parametrize(
    "args",
    [
        ("--help",), ("list",), ("train", "--help"), ("lesson",),
        ("compare", "logistic", "linear"), ("export", "linear", "--format", "triton"),
        ("exercise",), ("exercise", "conv2d"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_looking_around_imports_neither_torch_nor_onnxruntime(args: tuple[str, ...]) -> None:
    assert not modules_after(command(*args)) & {*HEAVY, "onnxruntime"}


@pytest.mark.parametrize(
    "args",
    [
        ("info", "cnn"), ("predict", "cnn", "digits"), ("evaluate", "linear"), ("verify", "linear"),
        ("benchmark", "linear", *QUICK), ("evaluate", "logistic", "--plot", "plot.png"),
        ("benchmark", "linear", *QUICK, "--plot", "plot.png"),
        ("compare", "logistic", "cnn", "--plot", "plot.png"),
    ],
    ids=" ".join,
)  # fmt: skip
@pytest.mark.usefixtures("digit_folder")
def test_running_a_bundle_imports_no_torch(args: tuple[str, ...]) -> None:
    """And matplotlib for a plot alone."""
    loaded = modules_after(command(*args))
    assert ("onnxruntime" in loaded) == (args[0] != "compare")
    assert loaded & HEAVY == ({"matplotlib"} if "--plot" in args else set())
    assert ("--plot" in args) == Path("plot.png").exists()


def test_every_module_outside_the_torch_rooms_imports_without_torch() -> None:
    files = [
        path.relative_to(ROOT).as_posix()
        for folder in ("zoo", "serve")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]
    own = ("zoo/datasets/folder.py", "zoo/plots.py")  # torch's data loader; matplotlib
    files = [file for file in files if not file.startswith(TORCH_ROOMS) and file not in own]
    assert {"serve/http/app.py", "zoo/runtime/session.py", "zoo/bundle/hub.py"} <= set(files)
    names = [file.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for file in files]
    assert not modules_after(f"import {', '.join(names)}") & HEAVY


def test_nothing_in_zoo_imports_serve_or_cli() -> None:
    for path in (ROOT / "zoo").rglob("*.py"):
        for line in path.read_text().splitlines():
            assert not line.strip().startswith(("import serve", "from serve", "import cli")), path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as for a release."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_exactly_zoo_and_serve(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"zoo", "serve"}
    assert wheel.name.startswith("torch_tutorial_zoo-")
    for name in ("zoo/py.typed", "zoo/_cli.py", "zoo/weights/cnn/model.onnx",
                 "zoo/weights/cnn/card.json",
                 "zoo/datasets/files/mnist/train-images-idx3-ubyte.gz"):  # fmt: skip
        assert name in names
    assert not [name for name in names if "checkpoint.safetensors" in name]


def test_an_installed_wheel_finds_its_weights(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = f"import sys; sys.path.insert(0, {str(site)!r}); import zoo; print(zoo.__file__)\n"
    code += "print(zoo.card('resnet').name, zoo.Session('resnet').device)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.splitlines()[0].startswith(str(site))
    assert done.stdout.splitlines()[1] == "resnet cpu" or "cuda" in done.stdout


def test_the_command_does_not_depend_on_the_name_cli(wheel: Path, tmp_path: Path) -> None:
    """Other packages have a module of that name, too: in the wheel's own folder, or before it."""
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    (site / "cli.py").write_text("raise SystemExit('somebody else')")
    environment = {**os.environ, "PYTHONPATH": str(site)}
    for words in (["-m", "zoo"], ["-c", "from zoo.__main__ import main; main()"]):
        done = subprocess.run(
            [sys.executable, *words, "list"], capture_output=True, text=True, env=environment,
            cwd=tmp_path,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        assert "99.68 %" in done.stdout
    shown = "import zoo.__main__ as m; print(m.__file__); m.main()"
    done = subprocess.run(
        [sys.executable, "-c", shown, "--version"], capture_output=True, text=True,
        env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.startswith(str(site))


@pytest.mark.parametrize(
    "code", ["raise ImportError('libonnxruntime.so.1: cannot open shared object file')", ""]
)
def test_an_onnxruntime_that_does_not_load_is_one_line_with_its_repair(
    zoo_process: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, code: str
) -> None:
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").write_text(code)
    paths = f"{tmp_path}{os.pathsep}{ROOT}"
    for words in (("predict", "cnn", "examples/digits/7-phone.jpg"), ("serve", "--port", 0)):
        done = zoo_process(*words, PYTHONPATH=paths)
        assert done.returncode == 1, done.stderr
        assert done.stderr.startswith("zoo: ONNX Runtime does not load (")
        assert "--force-reinstall --no-deps onnxruntime" in done.stderr
        assert done.stderr.count("\n") == 1
    if not code:
        return
    doctor = zoo_process("doctor", PYTHONPATH=paths)
    assert "broken  onnxruntime  ONNX Runtime does not load (" in doctor.stdout
    assert "ok      weights" in doctor.stdout
    assert zoo_process("list", PYTHONPATH=paths).returncode == 0
