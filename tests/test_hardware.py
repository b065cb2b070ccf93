"""How many cores there are to use: by a container's quota, and beside other programs."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import zoo
from serve.start import number_of_workers
from zoo import hardware

GROUPS = Path("/sys/fs/cgroup")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/", {"cpu.max": "max 100000"}, 0),
        ("0::/", {}, 0),
        ("0::/a/b", {"a/cpu.max": "50000 100000", "a/b/cpu.max": "max 100000"}, 0.5),
        ("0::/a/b", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "200000 100000"}, 2),
        ("0::/outside/this/container", {"cpu.max": "200000 100000"}, 2),
        (
            "4:cpu,cpuacct:/a\n0::/",
            {"cpu/a/cpu.cfs_quota_us": "250000", "cpu/a/cpu.cfs_period_us": "100000"}, 2.5,
        ),
        (
            "4:cpuset:/\n1:cpu:/",
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 0,
        ),
        ("0::/", {"cpu.max": "nonsense"}, 0),
    ],
)  # fmt: skip
def test_the_quota_is_that_of_all_groups(
    own: str, files: dict[str, str], cores: float, tmp_path: Path
) -> None:
    write(tmp_path / "self", own)
    for name, text in files.items():
        write(tmp_path / "cgroup" / name, text)
    assert hardware.quota(tmp_path / "cgroup", tmp_path / "self") == cores
    assert hardware.quota(tmp_path / "cgroup", tmp_path / "missing") == 0


@pytest.fixture
def one_core() -> Iterator[Path]:
    """A real control group with the time of one core."""
    group, limits = GROUPS / "cpu" / f"zoo-{os.getpid()}", {"cpu.cfs_quota_us": "100000"}
    if not (GROUPS / "cpu").exists():
        group, limits = GROUPS / f"zoo-{os.getpid()}", {"cpu.max": "100000 100000"}
    try:
        group.mkdir()
        for name, text in limits.items():
            (group / name).write_text(text)
    except OSError as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        pytest.skip(f"no control group can be made: {error}")
    yield group
    group.rmdir()


@pytest.mark.skipif(hardware.affinity() < 2, reason="a quota of one core limits nothing here")
def test_threads_follow_a_real_quota(one_core: Path, zoo_command: list[str]) -> None:
    enter = f"echo $$ > {one_core}/cgroup.procs && exec "
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}

    def run(*words: str) -> str:
        script = enter + '"$@"'
        done = subprocess.run(
            ["sh", "-c", script, "sh", *words], env=env, capture_output=True, text=True, check=True
        )
        return done.stdout + done.stderr

    doctor = run(*zoo_command, "doctor")
    allowed = f"1 core; a container's quota allows 1 of {hardware.affinity()}, threads follow it"
    assert allowed in doctor
    code = (
        "from zoo.runtime.providers import session_options as o; print(o(0).intra_op_num_threads)"
    )
    assert run(sys.executable, "-c", code) == "1\n"
    code = "from serve.start import number_of_workers as n; print(n('auto'))"
    assert run(sys.executable, "-c", code) == "1\n"


def test_workers_are_as_many_as_cores_if_that_is_asked_for() -> None:
    assert number_of_workers("auto") == hardware.cores()
    assert number_of_workers("3") == 3
    for wrong in ("0", "many", "-1", "1025", "", "1.5"):
        with pytest.raises(zoo.UsageError, match="expected 1 to 1,024 or auto, given"):
            number_of_workers(wrong)


@pytest.fixture
def busy() -> Iterator[None]:
    """Other programs that keep every core busy."""
    code = "while True: pass"
    programs = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(hardware.affinity())]
    yield
    for program in programs:
        program.kill()
        program.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="reads the cores' times from /proc")
@pytest.mark.usefixtures("busy")
def test_a_training_beside_busy_programs_has_one_thread(
    zoo_process: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    done = zoo_process("train", "logistic", "--epochs", 2, "--out", "run")
    assert done.returncode == 0, done.stderr
    assert zoo.card("./run").training.threads == 1
    if hardware.affinity() > 1:
        assert "1 CPU thread, as many as other programs leave free" in done.stderr
