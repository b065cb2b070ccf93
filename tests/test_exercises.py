"""Exercises: solutions pass, typical mistakes get the hint for them, and no file is too strange."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from conftest import ROOT

from zoo import exercises, language, lessons
from zoo.exercises.process import examine

SOLUTIONS = ROOT / "tests" / "solutions"
BY_HAND = [name for name in exercises.ORDER if name != "net"]
Check = exercises.Check
#: A line each: exercise | text of the solution => what stands there instead | check | mistake.
MISTAKES = (SOLUTIONS / "mistakes.txt").read_text().splitlines()


@pytest.fixture
def speak(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Let the zoo speak another language in this process, until the test ends."""

    def choose(name: str) -> None:
        monkeypatch.setenv("ZOO_LANG", name)
        language.current.cache_clear()

    yield choose
    monkeypatch.undo()
    language.current.cache_clear()


def replaced(name: str, *pairs: str) -> str:
    """The solution of an exercise with some text replaced."""
    text = (SOLUTIONS / f"{name}.py").read_text()
    text = text if "import numpy" in text else f"import numpy as np\n\n{text}"
    for old, new in zip(pairs[::2], pairs[1::2], strict=True):
        assert old in text, old
        text = text.replace(old, new)
    return text


def verdict(name: str, text: str, folder: Path) -> dict[str, Check]:
    """The checks of a file, by name, in this process: torch is imported once."""
    path = folder / "student.py"
    path.write_text(text)
    return {check.name: check for check in examine(exercises.get(name), path)}


@pytest.mark.parametrize("name", exercises.ORDER)
def test_a_solution_passes(name: str, tmp_path: Path) -> None:
    checks = verdict(name, (SOLUTIONS / f"{name}.py").read_text(), tmp_path)
    assert {check.state for check in checks.values()} == {"right"}, checks
    returns = [one for function in exercises.get(name).functions for one in function.returns]
    assert len(checks) >= max(len(returns), 3 if name == "net" else 1)
    for check in checks.values() if "backward" in str(checks) else ():
        assert check.name.startswith("forward") or "numerical gradient" in check.message


@pytest.mark.parametrize("line", MISTAKES)
def test_a_typical_mistake_gets_its_hint(line: str, tmp_path: Path) -> None:
    name, change, wrong, mistake = (part.strip() for part in line.split(" | "))
    old, _, new = (part.strip().replace("\\n", "\n") for part in change.partition("=>"))
    checks = verdict(name, replaced(name, old, new), tmp_path)
    assert checks[wrong].state == "wrong", checks
    assert checks[wrong].mistake == mistake, checks[wrong]
    assert checks[wrong].hint


@pytest.mark.parametrize(
    ("old", "new", "wrong", "mistake"),
    [
        ("            optimizer.zero_grad()\n", "", "train", "zero_grad"),
        ("            optimizer.step()\n", "", "train", "frozen"),
        ("            loss.backward()\n", "", "train", "frozen"),
        ("net.parameters()", "net.out.parameters()", "train", "partly_frozen"),
        ("self.out(x)", "self.out(x).softmax(dim=1)", "accuracy", "softmax"),
        ("lr=0.05", "lr=1e20", "accuracy", "nan"),
        ("lr=0.05", "lr=1e-7", "accuracy", "chance"),
        ("lr=0.05", "lr=1e-3", "accuracy", "more"),
        ("x.flatten(1)", "x", "Net.forward", "error"),
        ("x.flatten(1)", "x.reshape(-1, 784)[:1]", "Net.forward", "shape"),
        ("nn.Module", "object", "Net", "no_module"),
    ],
)
def test_a_typical_mistake_in_the_standard_flow(
    old: str, new: str, wrong: str, mistake: str, tmp_path: Path
) -> None:
    changed = replaced("net", old, new, "range(2)", "range(1)")
    checks = verdict("net", changed, tmp_path)
    assert (checks[wrong].state, checks[wrong].mistake) in {("wrong", mistake), ("open", mistake)}
    assert checks[wrong].hint


def test_the_network_of_the_notes_passes(tmp_path: Path) -> None:
    """Convolution and pooling, flattened by `view`."""
    text = replaced(
        "net",
        "nn.Linear(784, 64)", "nn.Conv2d(1, 10, 5)",
        "nn.Linear(64, 10)", "nn.Linear(1440, 10)",
        "        x = x.flatten(1)\n", "",
        "torch.relu(self.hidden(x))", "torch.max_pool2d(self.hidden(x), 2).relu().view(len(x), -1)",
    )  # fmt: skip
    assert {check.state for check in verdict("net", text, tmp_path).values()} == {"right"}


def test_a_gradient_that_fits_a_wrong_forward_says_so(tmp_path: Path) -> None:
    """The numerical gradient of the student's own forward agrees; torch does not."""
    halved = replaced("tanh", "np.tanh(x)", "0.5 * np.tanh(x)", "1 - y**2", "0.5 - 2 * y**2")
    check = verdict("tanh", halved, tmp_path)["backward: dx"]
    assert check.state == "wrong"
    assert "correct forward first" in check.message


def test_every_hint_and_text_is_in_both_languages() -> None:
    for exercise in exercises.exercises():
        texts = [exercise.title, *(mistake.hint for mistake in exercise.mistakes)]
        texts += [text for one in exercise.functions for text in (one.doc, one.todo)]
        texts += [text for text in (exercise.formulas, exercise.notes, exercise.stub) if text]
        for text in texts:
            assert not re.search(r"[\u3000-\u9fff\uff00-\uffef]", text.en), text
            assert text.zh
            assert text.zh != text.en or not re.search(r"[a-z]{4} [a-z]{3}", text.en), text
        assert re.search(r"[\u4e00-\u9fff]", exercise.title.zh)
        assert exercise.lesson in lessons.ORDER


@pytest.mark.parametrize("spoken", ["zh", "en"])
@pytest.mark.parametrize("name", exercises.ORDER)
def test_a_stub_is_a_program_that_is_still_to_be_written(
    name: str, spoken: str, tmp_path: Path, zoo_cli: Callable[..., Any],
    speak: Callable[[str], None],
) -> None:  # fmt: skip
    speak(spoken)
    assert zoo_cli("exercise", name, "-o", "mine.py").stdout == "mine.py\n"
    text = Path("mine.py").read_text()
    assert zoo_cli("exercise", name).stdout.replace("FILE", "mine.py") == text
    head = ast.get_docstring(ast.parse(text)) or ""
    assert head.startswith({"zh": "练习", "en": "Exercise"}[spoken])
    assert "zoo check mine.py" in head
    assert all(len(line) <= 100 for line in text.splitlines())
    for function in exercises.get(name).functions:
        assert f"def {function.signature}:" in text
        assert all(f"d{one}" not in function.returns or one in head for one in "xhy")
    assert text.count("TODO") >= 1
    assert {check.state for check in verdict(name, text, tmp_path).values()} <= {"open", "wrong"}


def test_the_list(zoo_cli: Callable[..., Any], speak: Callable[[str], None]) -> None:
    rows = zoo_cli("exercise").stdout.splitlines()
    assert [row.split()[0] for row in rows] == ["name", *exercises.ORDER]
    speak("zh")
    assert "卷积层" in zoo_cli("exercise").stdout
    document = json.loads(zoo_cli("exercise", "--json").stdout)
    assert [one["name"] for one in document] == list(exercises.ORDER)
    assert document[2]["title"]["zh"].startswith("卷积层")


def test_a_stub_overwrites_nothing(zoo_cli: Callable[..., Any]) -> None:
    Path("mine.py").write_text("my work")
    refused = zoo_cli("exercise", "relu", "-o", "mine.py")
    assert (refused.exit_code, Path("mine.py").read_text()) == (2, "my work")
    assert "--force" in refused.stderr
    assert zoo_cli("exercise", "relu", "-o", "mine.py", "--force").exit_code == 0
    assert "def forward" in Path("mine.py").read_text()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("exercise", "conv"), "Did you mean 'conv2d'?"),
        (("exercise", "-o", "a.py"), "give its name"),
        (("exercise", "relu", "--json"), "give no name"),
        (("exercise", "relu", "-o", "none/a.py"), "none does not exist"),
        (("exercise", "relu", "-o", "."), "give the name of a file"),
        (("check", "conv2d"), "zoo exercise conv2d -o conv2d.py"),
        (("check", "absent.py"), "no such file"),
        (("check", "."), "expected a file"),
        (("check", "plain.py"), "EXERCISE"),
        (("check", "other.py"), "Did you mean 'relu'?"),
    ],
)
def test_a_wrong_use_is_one_line(
    args: tuple[str, ...], said: str, zoo_cli: Callable[..., Any]
) -> None:
    Path("plain.py").write_text("x = 1\n")
    Path("other.py").write_text('EXERCISE = "relo"\n')
    done = zoo_cli(*args)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert said in done.stderr


#: What a student's file may do, and the line that says so; each runs in a process of its own.
FORWARD = 'EXERCISE = "relu"\nimport numpy as np\ndef forward(x):\n    return np.maximum(x, 0)\n'
STRANGE = {
    "syntax": ('EXERCISE = "relu"\ndef forward(x)\n    return x\n', "line 2: syntax error"),
    "gbk": ('EXERCISE = "relu"  # 练习\n'.encode("gbk"), "save it as UTF-8"),
    "import": ('EXERCISE = "relu"\nimport nonesuch\n', "line 2: ModuleNotFoundError"),
    "loop": (
        FORWARD + "def backward(dy, x):\n    while True:\n        pass\n",
        "did not end in 1 s",
    ),
    "exit": (FORWARD + "import os\nos._exit(3)\n", "exit 3"),
    "quit": (FORWARD + "raise SystemExit\n", "line 5: SystemExit"),
    "input": (FORWARD + "input()\n", "line 5: EOFError"),
    "memory": (FORWARD + "a = np.ones(1 << 33)\n", "line 5: MemoryError"),
}


@pytest.mark.parametrize("case", STRANGE)
def test_a_strange_file_gets_one_clear_line(
    case: str, zoo_process: Callable[..., CompletedProcess[str]]
) -> None:
    content, said = STRANGE[case]
    text = content if isinstance(content, bytes) else content.encode()
    Path("mine.py").write_bytes(text)
    done = zoo_process("check", "mine.py", "--timeout", "1" if case == "loop" else "60")
    assert (done.returncode, done.stderr) == (1, "")
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("wrong"))
    assert said in line
    assert bool(re.search("at line [67], in backward", line)) == (case == "loop")


def test_a_check_as_a_student_sees_it(zoo_process: Callable[..., CompletedProcess[str]]) -> None:
    """Prints go to stderr, a thread left behind holds nothing up, the verdict is in Chinese."""
    text = replaced("linear", "dy.sum(axis=0)", "dy")
    thread = "import threading, time\nthreading.Thread(target=time.sleep, args=(999,)).start()\n"
    Path("mine.py").write_text(text + thread + 'for n in range(30):\n    print("看", n)\n')
    done = zoo_process("check", "mine.py", ZOO_LANG="zh")
    assert done.returncode == 1
    assert done.stderr.splitlines()[:2] == ["mine.py: 看 0", "mine.py: 看 1"]
    assert done.stderr.splitlines()[-1] == "mine.py: ……另有 10 行"
    lines = done.stdout.splitlines()
    assert lines[0].startswith("linear: 全连接层")
    assert any("偏置的梯度没有对批求和" in line for line in lines)
    assert lines[-1].startswith("还没有通过：4 项中 3 项正确")


def test_a_passed_check_as_json(zoo_process: Callable[..., CompletedProcess[str]]) -> None:
    Path("mine.py").write_text((SOLUTIONS / "linear.py").read_text())
    done = zoo_process("check", "mine.py", "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["passed"], document["exercise"]) == (0, True, "linear")
    assert [check["state"] for check in document["checks"]] == ["right"] * 4


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("    return", "not written yet"),
        ("    raise NotImplementedError", "not written yet"),
        ("    return [1.0, 2.0]", "is a list"),
        ("    return x[:1]", "has the shape"),
        ("    return x.astype(str)", "expected a NumPy array"),
        ("    x[:] = np.maximum(x, 0)\n    return x", "changes its own input: x"),
        ("    return np.maximum(x, 0).astype(np.float64)", "is float64 for float32"),
        ("    return np.maximum(x, 0, x[0, 9])", "line 4: IndexError"),
        ("    return np.where(x > 0, x, np.nan)", "contains nan or inf"),
        ("    return forward(x)", "RecursionError"),
    ],
)
def test_a_result_of_another_kind_is_named(body: str, said: str, tmp_path: Path) -> None:
    text = f'import numpy as np\nEXERCISE = "relu"\ndef forward(x):\n{body}\n'
    checks = verdict("relu", text + "def backward(dy, x):\n    return dy * (x > 0)\n", tmp_path)
    assert sum(said in check.message for check in checks.values()) == 1, checks
    assert checks["backward: dx"].state == "right"


def test_a_function_that_is_missing_or_takes_other_arguments(tmp_path: Path) -> None:
    checks = verdict("relu", "def forward():\n    return 0\n", tmp_path)
    assert "no function backward(dy, x)" in checks["backward"].message
    assert "keep its line with def" in str(checks["forward"].hint)
