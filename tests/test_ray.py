"""Jobs and servers on a real Ray cluster on this machine, one of whose processes is killed."""

from __future__ import annotations

import io
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from conftest import ROOT
from PIL import Image
from test_imports import HEAVY, modules_after

from zoo import install
from zoo.bundle.card import ONNX
from zoo.bundle.folder import shipped, weights_dir
from zoo.datasets import mnist, tables

Cli = Callable[..., Any]

pytestmark = pytest.mark.skipif(
    find_spec("ray") is None, reason="the extra 'ray' is not installed: pip install '.[ray]'"
)


@pytest.fixture(scope="module", autouse=True)
def _secret() -> Iterator[None]:
    """A secret of the clusters of these tests; nothing is left in the home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        yield


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture(scope="module")
def cluster(_secret: None) -> Iterator[str]:
    """The address of a cluster with four CPUs on this machine."""
    address = f"127.0.0.1:{free_port()}"
    folder = tempfile.mkdtemp(dir="/tmp")  # the names of sockets in it must be short
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block",
        f"--port={address.partition(':')[2]}", "--num-cpus=4", "--include-dashboard=false",
        "--disable-usage-stats", "--object-store-memory=200000000", f"--temp-dir={folder}",
    ]  # fmt: skip
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"RAY_worker_niceness": "0"},  # else they starve beside other work
    )
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if "Ray runtime started" in line:
            break
    else:
        raise AssertionError("".join(said))
    yield address
    process.kill()  # all of the cluster ends with it
    process.communicate()
    shutil.rmtree(folder, ignore_errors=True)


def workers(address: str) -> list[int]:
    """The processes of this cluster that hold a session."""
    listed = subprocess.check_output(["ps", "-eww", "-o", "pid,ppid,args"], text=True)
    lines = [line.split(None, 2) for line in listed.splitlines()[1:]]
    port = ":" + address.partition(":")[2]
    raylets = {pid for pid, _, words in lines if "raylet/raylet" in words and port in words}
    return [int(pid) for pid, parent, words in lines if parent in raylets and "MapWorker" in words]


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory, digits: mnist.Split) -> Path:
    """The 10,000 test digits as PNG in Parquet; one cell is empty, one damaged."""
    cells: list[bytes | None] = []
    for image in digits.inputs:
        file = io.BytesIO()
        Image.fromarray(image[:, :, 0]).save(file, "PNG")
        cells.append(file.getvalue())
    cells[7], cells[5000] = None, b"nonsense"
    path = tmp_path_factory.mktemp("parquet") / "digits.parquet"
    pq.write_table(pa.table({"image": cells}), path, row_group_size=1500)  # no multiple of 256
    return path


@pytest.mark.slow
def test_a_worker_is_killed_and_the_rows_are_those_of_the_local_run(
    cluster: str, parquet: Path, zoo_process: Cli, zoo_command: list[str]
) -> None:
    job = ["predict", "googlenet", str(parquet), "--top", "2", "-o"]
    assert zoo_process(*job, "local.csv").returncode == 3
    process = subprocess.Popen(
        [*zoo_command, *job, "ray.csv", "--engine", "ray", "--address", cluster],
        stderr=subprocess.PIPE,
        text=True,
    )
    part = Path(".ray.csv.part")
    while process.poll() is None and not (part.exists() and part.stat().st_size):
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()
    os.kill(workers(cluster)[0], signal.SIGKILL)
    killed = part.stat().st_size
    _, said = process.communicate(timeout=300)
    assert process.returncode == 3, said
    assert killed < Path("ray.csv").stat().st_size  # it was at work
    assert Path("ray.csv").read_bytes() == Path("local.csv").read_bytes()
    assert "10,000 rows on cpu" in said
    assert f"2 of 10,000 inputs failed, first {parquet}[7]: no image: the cell is empty" in said


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_folders_files_and_remote_addresses(
    suffix: str, cluster: str, parquet: Path, digit_folder: Path, zoo_process: Cli
) -> None:
    (digit_folder / "a" / "04.png").write_bytes(b"nonsense")
    given = [digit_folder, parquet, f"{digit_folder}/b/2*.png", digit_folder.as_uri(), "none.png"]
    job = ["predict", "cnn", *given, "--invert", "no", "-o"]
    assert zoo_process(*job, f"local.{suffix}").returncode == 3
    done = zoo_process(*job, f"ray.{suffix}", "--engine", "ray", "--address", cluster)
    assert done.returncode == 3, done.stderr
    assert Path(f"ray.{suffix}").read_bytes() == Path(f"local.{suffix}").read_bytes()


@pytest.mark.slow
def test_without_an_address_the_cluster_is_the_job_s_own(zoo_process: Cli) -> None:
    table = tables.FILES / "diabetes.csv"
    local = zoo_process("predict", "linear", table, "--json")
    done = zoo_process("predict", "linear", table, "--json", "--engine", "ray")
    assert done.returncode == 0, done.stderr
    assert done.stdout == local.stdout


@pytest.mark.slow
def test_what_goes_wrong_in_a_worker_is_told_as_locally(
    cluster: str, digit_folder: Path, zoo_process: Cli
) -> None:
    there = ["--engine", "ray", "--address", cluster]
    done = zoo_process("predict", "cnn", digit_folder, *there, "--device", "cuda")
    assert (done.returncode, done.stdout) == (4, "")
    assert "device 'cuda' is not available: the cluster has no GPU" in done.stderr
    bundle = Path(shutil.copytree(weights_dir() / "cnn", "damaged"))
    with (bundle / ONNX).open("ab") as file:
        file.write(b"x")
    done = zoo_process("predict", bundle, digit_folder, *there)
    assert (done.returncode, done.stdout) == (5, "")
    assert "does not match its card (SHA-256" in done.stderr


@pytest.mark.slow
def test_ray_serve_answers_as_zoo_serve_does(cluster: str, tmp_path: Path) -> None:
    """The application of deploy/rayservice.yaml, with other models and another port."""
    (manifest,) = yaml.safe_load_all((ROOT / "deploy" / "rayservice.yaml").read_text())
    config = yaml.safe_load(manifest["spec"]["serveConfigV2"])
    config["applications"][0]["args"]["models"] = "cnn,linear"
    config["http_options"] = {"host": "127.0.0.1", "port": free_port()}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "ray.serve.scripts", "run", "--address", cluster]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([*command, "config.yaml"], stdout=log, stderr=log)
    try:
        address = f"127.0.0.1:{config['http_options']['port']}"
        for _ in range(600):
            assert process.poll() is None, (tmp_path / "log").read_text()
            try:
                urllib.request.urlopen(f"http://{address}/v2/health/ready", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        done = subprocess.run(
            [sys.executable, ROOT / "tests" / "triton_check.py", address],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.stdout == "all right\n", done.stderr[-3000:]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)


def test_what_cannot_be_is_refused_before_anything_starts(zoo_cli: Cli, digit_folder: Path) -> None:
    job = ["predict", "cnn", digit_folder]
    for more, code, reason in (
        (["--address", "a:1"], 2, "--address is that of a Ray cluster: give --engine ray too"),
        (["--engine", "ray", "--resume", "-o", "a.csv"], 2, "a Ray job outlives its workers"),
    ):
        refused = zoo_cli(*job, *more)
        assert (refused.exit_code, refused.stdout) == (code, "")
        assert reason in refused.stderr


def test_no_cluster_at_the_address(zoo_process: Cli, digit_folder: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    done = zoo_process("predict", "cnn", digit_folder, "--engine", "ray", "--address", address)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"zoo: no Ray cluster at {address}: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_missing_extra_is_named(digit_folder: Path) -> None:
    words = ["zoo", "predict", "cnn", str(digit_folder), "--engine", "ray"]
    code = f"import sys; sys.modules['ray'] = None; sys.argv = {words!r}; import cli; cli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"'ray', which is not installed: {install.command('ray')}" in done.stderr


def test_ray_brings_no_torch() -> None:
    assert not modules_after("import serve.ray.batch, serve.ray.app") & (HEAVY - {"pydantic"})


def test_the_manifest_holds_together() -> None:
    (manifest,) = yaml.safe_load_all((ROOT / "deploy" / "rayservice.yaml").read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayService")
    (application,) = yaml.safe_load(manifest["spec"]["serveConfigV2"])["applications"]
    assert application["import_path"] == "serve.ray.app:app"
    assert set(application["args"]["models"].split(",")) <= set(shipped())
    cluster = manifest["spec"]["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    images = [each["template"]["spec"]["containers"][0]["image"] for each in groups]
    assert len(set(images)) == 1
    version = f"FROM rayproject/ray:{cluster['rayVersion']}"
    assert version in (ROOT / "deploy" / "Containerfile.ray").read_text()
