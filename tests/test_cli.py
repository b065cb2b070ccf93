"""The command line as a user meets it: output, messages, exit codes."""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
from PIL import Image

import cli
import zoo
from zoo import install
from zoo.recipe import Recipe
from zoo.runtime.providers import cuda_missing
from zoo.table import width

Cli = Callable[..., Any]
COMMANDS = (
    "list", "info", "train", "evaluate", "export", "predict", "serve", "verify", "benchmark",
    "doctor", "lesson", "demo",
)  # fmt: skip


def test_help_names_every_command(zoo_process: Cli) -> None:
    done = zoo_process("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert f"  {command} " in done.stdout
    for command in COMMANDS:
        assert zoo_process(command, "-h").returncode == 0


def test_the_help_says_what_each_option_is(zoo_cli: Cli) -> None:
    summaries = zoo_cli("--help").stdout.partition("Commands:")[2]
    assert "..." not in summaries  # none is cut
    for name, command in typer.main.get_command(cli.app).commands.items():
        options = [param for param in command.params if param.param_type_name == "option"]
        text = zoo_cli(name, "--help").stdout
        for param in command.params:
            assert param.help, (name, param.name)
            assert param.help[0].isupper() or param.help.startswith(("none:", "gRPC")), param.help
            assert param.help.endswith((".", "]")), param.help
        sections = re.findall(r"^(\w+):$", text, re.M)
        if len(options) > 8:  # too many for one list
            assert len(sections) >= 3, name


def test_version(zoo_cli: Cli) -> None:
    assert zoo_cli("--version").stdout == f"zoo {zoo.__version__}\n"
    assert importlib.metadata.version("torch-tutorial-zoo") == zoo.__version__


def test_list(zoo_cli: Cli) -> None:
    lines = zoo_cli("list").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == zoo.list_models()
    rows = json.loads(zoo_cli("list", "--json").stdout)
    assert {row["name"]: row["parameters"] for row in rows}["softmax"] == 575_050


def test_info(zoo_cli: Cli) -> None:
    text = zoo_cli("info", "resnet").stdout
    for part in ("41,514", "images uint8 [batch, 28, 28, 1]", "logits float32 [batch, 10]",
                 "CC BY-SA 3.0", "zoo train resnet"):  # fmt: skip
        assert part in text
    assert json.loads(zoo_cli("info", "resnet", "--json").stdout)["parameters"] == 41_514


def test_evaluate_by_both_engines(zoo_cli: Cli) -> None:
    results = [
        json.loads(zoo_cli("evaluate", "cnn", "--engine", engine, "--json").stdout)
        for engine in ("onnx", "torch")
    ]
    assert results[0]["rows"] == 10_000
    assert results[0]["metrics"]["accuracy"] == results[1]["metrics"]["accuracy"]
    assert results[0]["confusion"] == results[1]["confusion"]


def test_evaluate_draws_the_confusion_matrix(zoo_cli: Cli) -> None:
    result = zoo_cli("evaluate", "logistic", "--plot", "c.png")
    assert result.exit_code == 0, result.stderr
    assert "malignant" in result.stdout
    with Image.open("c.png") as image:
        assert min(image.size) > 200
    refused = zoo_cli("evaluate", "linear", "--plot", "d.png")
    assert refused.exit_code == 2
    assert not Path("d.png").exists()


def test_verify_all_shipped_bundles(zoo_cli: Cli) -> None:
    result = zoo_cli("verify")
    assert result.exit_code == 0, result.stdout
    head, *lines = result.stdout.splitlines()
    assert head.split() == ["name", "card", "measured", "verdict"]
    assert [line.split()[0] for line in lines] == zoo.list_models()
    assert all(line.endswith("ok") for line in lines)


def test_benchmark_measures_and_draws(zoo_cli: Cli) -> None:
    args = ("benchmark", "cnn", "linear", "--batch", "1", "--batch", "50", "--seconds", "0.02")
    table = zoo_cli(*args, "--plot", "speed.png").stdout.splitlines()
    assert table[0].split()[:3] == ["model", "device", "batch"]
    assert [line.split()[0] for line in table[1:] if " cpu " in line] == ["cnn"] * 2 + [
        "linear"
    ] * 2
    with Image.open("speed.png") as image:
        assert min(image.size) > 300
    report = json.loads(zoo_cli(*args, "--json").stdout)
    assert report["hardware"]
    for each in report["measurements"]:
        assert each["rows_per_second"] > 0
        assert 0 < each["p50_ms"] <= each["p99_ms"]
    by_hand = zoo_cli(*args, "--engine", "numpy", "--json")
    assert json.loads(by_hand.stdout)["engine"] == "numpy"
    assert zoo_cli("benchmark", "nope").exit_code == 2
    assert zoo_cli("benchmark", "cnn", "--batch", "0").exit_code == 2


def test_unknown_commands_and_options(zoo_cli: Cli) -> None:
    assert zoo_cli("lst").exit_code == 2
    assert zoo_cli("list", "--color").exit_code == 2
    result = zoo_cli("info", "resnt")
    assert result.exit_code == 2
    assert result.stderr.startswith("zoo: unknown model 'resnt'. Did you mean 'resnet'?")


@pytest.mark.skipif(cuda_missing() is None, reason="there is a GPU here")
@pytest.mark.parametrize(
    "args",
    [
        ("predict", "cnn", "x.png"),
        ("evaluate", "cnn"),
        ("evaluate", "cnn", "--engine", "torch"),
        ("verify", "cnn"),
        ("train", "cnn", "--out", "run"),
        ("demo",),
    ],
)
def test_cuda_without_a_gpu_ends_with_4(args: tuple[str, ...], zoo_cli: Cli) -> None:
    result = zoo_cli(*args, "--device", "cuda")
    assert result.exit_code == 4
    assert "device 'cuda' is not available: " in result.stderr
    assert not Path("run").exists()


def test_debug_shows_the_traceback_and_nothing_else_does(zoo_process: Cli) -> None:
    assert "Traceback" not in zoo_process("info", "nope").stderr
    for args in (("--debug", "info", "nope"), ("info", "nope", "--debug")):
        assert "Traceback" in zoo_process(*args).stderr


def test_no_color_off_a_terminal(zoo_process: Cli, digit_folder: Path) -> None:
    for args in (("list",), ("predict", "cnn", digit_folder), ("--help",), ("info", "x")):
        done = zoo_process(*args)
        assert "\x1b" not in done.stdout + done.stderr


def test_a_closed_pipe_is_no_error(zoo_command: list[str]) -> None:
    import subprocess

    text = f"{' '.join(map(repr, zoo_command[:1]))} -c 'import cli; cli.main()' list | true"
    done = subprocess.run(text, shell=True, capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_completion_knows_the_models(zoo_process: Cli) -> None:
    done = zoo_process(
        **{"_ZOO_COMPLETE": "complete_bash", "COMP_WORDS": "zoo info go", "COMP_CWORD": "2"}
    )
    assert done.stdout.split() == ["googlenet"]


def test_doctor_reports_what_is_here(zoo_cli: Cli) -> None:
    result = zoo_cli("doctor", "--json")
    found = {row["check"]: row for row in json.loads(result.stdout)}
    assert result.exit_code == 0
    for (
        check
    ) in "python onnxruntime telemetry CPUExecutionProvider torch torchvision weights".split():
        assert found[check]["status"] == "ok", found[check]
        assert set(found[check]) == {"check", "status", "detail", "fix"}
        assert not found[check]["fix"]
    assert found["telemetry"]["detail"].startswith("off ")
    if reason := cuda_missing():
        assert found["CUDAExecutionProvider"]["status"] == "absent"
        assert reason in found["CUDAExecutionProvider"]["detail"]


def test_doctor_finds_both_onnxruntimes_and_a_torchvision_that_cannot_import(
    zoo_process: Cli, tmp_path: Path
) -> None:
    """Beside the real packages: the metadata of a second ONNX Runtime, a torchvision that fails."""
    for name in ("onnxruntime", "onnxruntime_gpu"):
        meta = tmp_path / "site" / f"{name}-1.31.0.dist-info"
        meta.mkdir(parents=True)
        text = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.31.0\n"
        (meta / "METADATA").write_text(text)
    broken = tmp_path / "site" / "torchvision"
    broken.mkdir()
    (broken / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    done = zoo_process("doctor", PYTHONPATH=str(tmp_path / "site"))
    assert done.returncode == 1
    assert "are both installed" in done.stdout
    assert "uninstall" in done.stdout
    assert f" onnxruntime onnxruntime-gpu && {install.installer()}" in done.stdout
    assert "operator torchvision::nms does not exist" in done.stdout
    assert "--force-reinstall torch torchvision" in done.stdout


def test_doctor_without_the_train_extra(tmp_path: Path) -> None:
    import subprocess

    code = "import cli, sys; sys.modules['torch'] = None; sys.argv = ['zoo', 'doctor']; cli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    line = next(line for line in done.stdout.splitlines() if " torch " in line)
    assert line.startswith("absent")
    assert install.command("train") in done.stdout


@pytest.mark.parametrize("command", ["list", "lesson", "exercise", "verify --help", "--help"])
@pytest.mark.parametrize("speaks", ["en", "zh"])
def test_lists_fit_a_terminal(command: str, speaks: str, zoo_process: Cli) -> None:
    done = zoo_process(*command.split(), ZOO_LANG=speaks, COLUMNS="80")
    assert max(map(width, done.stdout.splitlines())) <= 80


def test_train_explains_every_field_of_a_recipe(zoo_cli: Cli) -> None:
    page = " ".join(zoo_cli("train", "--help").stdout.split())
    for field in msgspec.structs.fields(Recipe):
        assert f" {field.name} " in page
    assert "averag" in page
    assert "[default: onecycle]" in page


def test_info_says_which_runtimes_load_the_file(zoo_cli: Cli, tmp_path: Path) -> None:
    import onnx

    shown = zoo_cli("info", "softmax").stdout
    model = onnx.load_from_string(zoo.Bundle.open("softmax").read("model.onnx"))
    (opset,) = (each.version for each in model.opset_import if not each.domain)
    assert f"model.onnx 2,302 kB (opset {opset}, IR {model.ir_version})" in shown
    assert "ms at batch 1" in shown


def test_lessons_are_listed_and_run(
    zoo_cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ZOO_LESSON_OUTPUT", str(tmp_path))
    done = zoo_cli("lesson")
    assert done.exit_code == 0
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [row[0] for row in rows] == [str(number) for number in range(1, len(rows) + 1)]
    names = [row[1] for row in rows]
    assert {"tensors", "basic_cnn", "conv2d_by_hand"} <= set(names)
    (row,) = (row for row in rows if row[1] == "gradient_descent")
    assert row[2:] == ["Gradient", "descent"]
    assert [one["name"] for one in json.loads(zoo_cli("lesson", "--json").stdout)] == names
    ran = zoo_cli("lesson", "flatten_by_hand")
    assert ran.exit_code == 0
    assert "largest difference" in ran.stdout
    title, *_, file = ran.stdout.partition("\n\n")[0].splitlines()
    assert "Flatten" in title
    assert file.startswith("file: ")
    assert file.endswith("flatten_by_hand.py")
    by_number = zoo_cli("lesson", str(names.index("flatten_by_hand") + 1))
    assert by_number.stdout.splitlines()[0] == title
    wrong = zoo_cli("lesson", "gradient-descent")
    assert wrong.exit_code == 2
    assert "Did you mean 'gradient_descent'?" in wrong.stderr


@pytest.mark.parametrize(
    ("word", "name"),
    [("卷积神经", "basic_cnn"), ("nn_st", "nn_standard_flow"), ("ReLU", "relu_by_hand")],
)
def test_a_lesson_is_found_by_a_part_of_its_name_or_heading(word: str, name: str) -> None:
    from zoo import lessons

    assert lessons.get(word).name == name
