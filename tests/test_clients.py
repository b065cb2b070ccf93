"""Clients in environments of their own, which `make test-all` makes: KServe's, perf_analyzer."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import ROOT
from test_grpc import Both
from test_server import starter

CLIENTS = ROOT / ".clients"


@pytest.fixture
def start(zoo_command: list[str]) -> Iterator[Callable[..., Both]]:
    """Start servers with options; what still runs at the end is stopped."""
    with starter(Both, zoo_command) as begin:
        yield begin


def run(*words: Any, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a client that `make test-all` installs; where it did not, skip."""
    if not words[0].exists():
        pytest.skip(f"{words[0]} is not there: make .clients/.ready")
    return subprocess.run(
        [*map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | env,
        check=False,
    )


@pytest.mark.slow
def test_the_clients_of_kserve_work_unmodified(start: Callable[..., Both]) -> None:
    server = start("linear", "--no-access-log")
    python = CLIENTS / "kserve" / "bin" / "python"
    done = run(python, ROOT / "tests" / "kserve_check.py", server.url, server.grpc)
    assert done.stdout.splitlines()[-1:] == ["all right"], done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("-a",), ("-i", "grpc"), ("-i", "grpc", "--streaming")])
def test_perf_analyzer_measures_and_reads_the_statistics(
    start: Callable[..., Both], options: tuple[str, ...]
) -> None:
    server = start("cnn", "--no-access-log")
    address = server.grpc if "grpc" in options else server.address
    libraries = CLIENTS / "perf" / "nvidia" / "cuda_runtime" / "lib"
    done = run(
        CLIENTS / "perf" / "bin" / "perf_analyzer", "-m", "cnn", "-u", address, *options, "-b", "4",
        # not its latency but its count of requests: a busy machine is never stable
        "--measurement-mode", "count_windows", "--measurement-request-count", "50", "-s", "999",
        LD_LIBRARY_PATH=f"{libraries}:{os.environ.get('LD_LIBRARY_PATH', '')}",
    )  # fmt: skip
    if "libb64" in done.stderr:
        pytest.skip("perf_analyzer needs Debian's libb64-0d")
    assert done.returncode == 0, done.stdout + done.stderr
    for count in ("Inference count", "Execution count", "Successful request count"):
        found = re.search(rf"{count}: (\d+)", done.stdout)
        assert found is not None, done.stdout
        assert int(found[1]) > 0
