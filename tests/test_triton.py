"""The Triton repository, read with Triton's own definitions; and what is in deploy/."""

from __future__ import annotations

import importlib.util
import itertools
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx
import pytest
import torch
import yaml
from conftest import ROOT
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

import zoo
from zoo.bundle import triton
from zoo.bundle.folder import Bundle, shipped
from zoo.errors import UsageError, VerificationError

DEPLOY = ROOT / "deploy"
#: ONNX's element types by Triton's names.
ELEMENTS = {"TYPE_UINT8": onnx.TensorProto.UINT8, "TYPE_FP32": onnx.TensorProto.FLOAT}


def read(model: Path) -> Any:
    """The configuration, as Triton reads it."""
    text = (model / "config.pbtxt").read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def test_the_repository_fits_the_onnx_files(tmp_path: Path) -> None:
    for kind in ("cpu", "gpu"):
        written = triton.repository(map(Bundle.open, shipped()), tmp_path / kind, kind=kind)
        assert [path.name for path in written] == shipped()
        for model in written:
            config = read(model)
            graph = onnx.load(model / "1" / "model.onnx").graph
            assert (config.name, config.platform) == (model.name, "onnxruntime_onnx")
            assert config.max_batch_size == 64
            assert config.HasField("dynamic_batching")
            (group,) = config.instance_group
            assert group.Kind.Name(group.kind) == f"KIND_{kind.upper()}"
            for ours, real in ((config.input, graph.input), (config.output, graph.output)):
                for mine, tensor in zip(ours, real, strict=True):
                    kind_name = model_config_pb2.DataType.Name(mine.data_type)
                    assert mine.name == tensor.name
                    assert ELEMENTS[kind_name] == tensor.type.tensor_type.elem_type
                    batch, *dims = tensor.type.tensor_type.shape.dim
                    assert batch.dim_param == "batch"
                    assert list(mine.dims) == [dim.dim_value for dim in dims]
            labels = Bundle.open(model.name).card.labels
            named = {output.name: output.label_filename for output in config.output}
            assert named.get("probabilities", "") == ("labels.txt" if labels else "")
            lines = (model / "labels.txt").read_text().splitlines() if labels else []
            assert tuple(lines) == labels


def test_the_command_writes_a_repository(zoo_cli: Callable[..., Any], tmp_path: Path) -> None:
    for args, kind in (((), "KIND_CPU"), (("--gpu",), "KIND_GPU")):
        done = zoo_cli("export", "cnn", "--format", "triton", "-o", tmp_path / "models", *args)
        assert (done.exit_code, done.stdout) == (0, f"{tmp_path / 'models' / 'cnn'}\n"), done.stderr
        assert kind in (tmp_path / "models" / "cnn" / "config.pbtxt").read_text()
    assert zoo_cli("export", "cnn", "--format", "tritn").exit_code == 2


def test_options_of_the_file_are_honored_or_refused(
    zoo_cli: Callable[..., Any], tmp_path: Path
) -> None:
    to = ("--format", "triton", "-o", tmp_path)
    done = zoo_cli("export", "logistic", *to, "--opset", 17, "--name", "tumor")
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path / 'tumor'}\n"), done.stderr
    assert read(tmp_path / "tumor").name == "tumor"
    model = onnx.load(tmp_path / "tumor" / "1" / "model.onnx")
    assert model.opset_import[0].version == 17
    half = zoo_cli("export", "logistic", *to, "--precision", "fp16", "--name", "tumor")
    assert half.exit_code == 0, "the same model, another file"
    kinds = {
        tensor.data_type for tensor in onnx.load(tmp_path / "tumor/1/model.onnx").graph.initializer
    }
    assert onnx.TensorProto.FLOAT16 in kinds
    other = zoo_cli("export", "linear", *to, "--name", "tumor")
    assert other.exit_code == 2
    assert "holds another model: give another --name" in other.stderr
    for words in (("--batch", 4), ("--preprocess", "none"), ("--test-vectors", tmp_path / "v"),
                  ("--name", "a/b")):  # fmt: skip
        refused = zoo_cli("export", "linear", *to, *words)
        assert refused.exit_code == 2, words
        assert refused.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["tumor"]
    assert zoo_cli("export", "linear", "--name", "x").exit_code == 2
    assert "ending in .onnx" in zoo_cli("export", "linear", "-o", tmp_path / "x.txt").stderr


def test_a_damaged_bundle_and_an_unknown_kind_are_refused(
    broken_copy: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"unknown kind 'gpus'\. Did you mean 'gpu'"):
        triton.repository([Bundle.open("cnn")], tmp_path, kind="gpus")
    (broken_copy / "model.onnx").write_bytes(b"")
    with pytest.raises(VerificationError, match="does not match its card"):
        triton.repository([Bundle.open(broken_copy)], tmp_path / "models")
    assert not (tmp_path / "models").exists()


def documents(name: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all((DEPLOY / name).read_text()) if document]


def serve_options(args: list[str], zoo_cli: Callable[..., Any]) -> None:
    """What a container is started with is what `zoo serve` knows."""
    assert args[0] == "serve"
    names = itertools.takewhile(lambda word: not word.startswith("-"), args[1:])
    assert set(names) <= set(shipped())
    parsed = zoo_cli(*args, "--help")  # an unknown option is told before the help
    assert parsed.exit_code == 0, parsed.stderr


def test_the_kubernetes_manifests_hold_together(zoo_cli: Callable[..., Any]) -> None:
    deployment, service = documents("kubernetes.yaml")
    assert (deployment["apiVersion"], deployment["kind"]) == ("apps/v1", "Deployment")
    assert (service["apiVersion"], service["kind"]) == ("v1", "Service")
    pod = deployment["spec"]["template"]
    labels = pod["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels == service["spec"]["selector"]
    (container,) = pod["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} == set(ports)
    serve_options(container["args"], zoo_cli)
    at = container["args"].index
    assert container["args"][at("--port") + 1] == str(ports["http"])
    assert container["args"][at("--grpc-port") + 1] == str(ports["grpc"])
    for probe, path in (("readinessProbe", "ready"), ("livenessProbe", "live"),
                        ("startupProbe", "ready")):  # fmt: skip
        assert container[probe]["httpGet"] == {"path": f"/v2/health/{path}", "port": "http"}
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert pod["spec"]["terminationGracePeriodSeconds"] > 10  # --timeout's default


def test_the_kserve_manifests_hold_together(zoo_cli: Callable[..., Any]) -> None:
    for name in ("kserve.yaml", "kserve-triton.yaml"):
        (service,) = documents(name)
        assert service["apiVersion"] == "serving.kserve.io/v1beta1"
        assert service["kind"] == "InferenceService"
        predictor = service["spec"]["predictor"]
        if name == "kserve.yaml":
            (container,) = predictor["containers"]
            assert container["name"] == "kserve-container"
            serve_options(container["args"], zoo_cli)
            (port,) = container["ports"]
            where = container["args"].index("--port")
            assert container["args"][where + 1] == str(port["containerPort"])
            assert container["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
        else:
            model = predictor["model"]
            assert model["modelFormat"]["name"] == "triton"
            assert model["protocolVersion"] == "v2"
            assert model["storageUri"]


def test_the_containerfile_copies_what_is_there(zoo_cli: Callable[..., Any]) -> None:
    text = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line and line[0] != "#"]
    words = [word for word, _ in lines]
    assert words[0] in ("ARG", "FROM")
    assert set(words) <= {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "EXPOSE",
                          "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}  # fmt: skip
    for word, rest in lines:
        if word == "COPY" and not rest.startswith("--from"):
            *sources, _ = rest.split()
            for source in sources:
                assert (ROOT / source).exists(), source
    final = dict(lines)
    assert final["USER"] != "root"
    assert yaml.safe_load(final["ENTRYPOINT"]) == ["zoo"]
    serve_options(yaml.safe_load(final["CMD"]), zoo_cli)


def test_the_commands_of_the_readme_name_files_that_are_there() -> None:
    text = (DEPLOY / "README.md").read_text()
    for block in re.findall(r"```sh\n(.*?)```", text, re.S):
        for word in shlex.split(block.replace("\\\n", " "), comments=True):
            if word.startswith("deploy/"):
                assert (ROOT / word).is_file(), word


@pytest.fixture(scope="module")
def hubconf() -> ModuleType:
    spec = importlib.util.spec_from_file_location("zoo_hubconf", ROOT / "hubconf.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", shipped())
def test_torch_hub_loads_every_model(name: str) -> None:
    model = torch.hub.load(str(ROOT), name, source="local")
    expected = zoo.load(name).state_dict()
    assert all(value.equal(expected[key]) for key, value in model.state_dict().items())
    assert not model.training
    fresh = torch.hub.load(str(ROOT), name, source="local", pretrained=False)
    assert not all(value.equal(expected[key]) for key, value in fresh.state_dict().items())


def test_torch_hub_lists_and_explains_them(hubconf: ModuleType) -> None:
    """By torch.hub's own rule: what can be called and begins with no underscore."""
    found = [n for n in dir(hubconf) if callable(getattr(hubconf, n)) and not n.startswith("_")]
    assert found == zoo.list_models()
    assert "'cnn'" in hubconf.cnn.__doc__


def test_torch_hub_works_from_a_copy_in_a_fresh_process(tmp_path: Path) -> None:
    """As after torch.hub's own download: the archive's files, and nothing installed."""
    files = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "zoo", "weights"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    for file in [*files, "hubconf.py"]:
        if "datasets/files/mnist" not in file and (ROOT / file).exists():
            (tmp_path / "repo" / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "repo" / file).write_bytes((ROOT / file).read_bytes())
    code = (
        f"import torch\nmodel = torch.hub.load({str(tmp_path / 'repo')!r}, 'resnet', "
        "source='local')\nimport zoo\nprint(zoo.__file__, sum(p.numel() for p in "
        "model.parameters()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == f"{tmp_path}/repo/zoo/__init__.py 41514\n", done.stderr
