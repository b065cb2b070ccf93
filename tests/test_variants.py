"""Variants of the ONNX file: each holds its tolerance on the whole test set, or is not written."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from conftest import contract_of, unversioned
from onnx.reference import ReferenceEvaluator

import zoo
from zoo import datasets
from zoo.bundle.card import ONNX, WEIGHTS
from zoo.bundle.folder import Bundle, shipped
from zoo.errors import UsageError, VerificationError
from zoo.evaluation import metrics
from zoo.evaluation.evaluate import evaluate
from zoo.evaluation.verify import verify
from zoo.export import parity, vectors
from zoo.export.bundle import Exported, export_bundle
from zoo.export.variant import Variant
from zoo.runtime.providers import cpu_session

IMAGES = [name for name in shipped() if zoo.card(name).dataset.name == "mnist"]


Export = Callable[[str, Variant], Exported]


def opened(graph: bytes) -> tuple[ort.InferenceSession, dict[str, Any]]:
    session = cpu_session(graph)
    return session, contract_of(session.get_modelmeta().custom_metadata_map)


def ports(session: ort.InferenceSession) -> list[tuple[str, str, list[int | str]]]:
    both = (*session.get_inputs(), *session.get_outputs())
    return [(port.name, port.type, port.shape) for port in both]


def outputs(session: ort.InferenceSession, inputs: np.ndarray, size: int = 256) -> np.ndarray:
    name = session.get_inputs()[0].name
    return np.concatenate(
        [session.run(None, {name: inputs[at : at + size]})[0] for at in range(0, len(inputs), size)]
    )


@functools.cache
def shipped_outputs(name: str) -> np.ndarray:
    session = cpu_session(Bundle.open(name).read(ONNX))
    return outputs(session, datasets.load(zoo.card(name).dataset.name).test.inputs)


def quick(names: list[str], *others: str) -> list[Any]:
    """The names, with the others, whose likes are among them, marked as slow."""
    return [
        pytest.param(name, marks=[pytest.mark.slow] if name in others else []) for name in names
    ]


@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize("name", quick(shipped(), "resnet", "googlenet", "softmax", "rnn_cell"))
def test_every_model_holds_its_tolerance_on_the_whole_test_set(
    name: str, precision: str, exported: Export
) -> None:
    card = zoo.card(name)
    test = datasets.load(card.dataset.name).test
    session, meta = opened(exported(name, Variant(precision)).graph)
    assert ports(session) == ports(cpu_session(Bundle.open(name).read(ONNX)))
    found = outputs(session, test.inputs)
    measured = metrics.measure(card.task, found, test.targets)
    assert card.test[card.metric] - measured[card.metric] <= 0.001
    assert meta["measured"]["test"] == pytest.approx(measured)
    difference = np.abs(found - shipped_outputs(name)).max()
    assert meta["measured"]["max_abs_difference"] == pytest.approx(difference, rel=0.01)
    assert 0.998 * len(found) <= meta["measured"]["same_top1"] <= len(found)
    assert meta["variant"]["precision"] == precision
    assert (meta["labels"], meta["task"]) == (list(card.labels), card.task)
    assert meta["weights_sha256"] == card.files[WEIGHTS]
    if card.task != "classification":
        assert difference <= 0.01 * np.abs(found).max()


@pytest.mark.parametrize("name", quick(IMAGES, "resnet", "googlenet", "rnn_cell"))
def test_the_files_are_smaller_and_hold_the_numbers_they_name(name: str, exported: Export) -> None:
    size = (Bundle.open(name).path / ONNX).stat().st_size
    half, int8 = (
        onnx.load_from_string(exported(name, Variant(precision)).graph)
        for precision in ("fp16", "int8")
    )
    assert half.ByteSize() < (0.51 if name == "softmax" else 0.65) * size
    assert int8.ByteSize() < (0.35 if name == "softmax" else 0.9) * size
    for model, kind in ((half, onnx.TensorProto.FLOAT16), (int8, onnx.TensorProto.INT8)):
        weights = [one for one in model.graph.initializer if np.prod(one.dims[1:]) > 4]
        kept = ("conv1.weight", "_row")  # the first layer, and a bias in the form of one row
        found = {one.data_type for one in weights if not any(word in one.name for word in kept)}
        assert found == {kind}
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in int8.graph.node}
    for model in (onnx.load(Bundle.open(name).path / ONNX), half, int8):  # for small devices
        assert not {"Shape", "Expand"} & {node.op_type for node in model.graph.node}


@pytest.mark.parametrize(("name", "precision"), [("cnn", "int8"), ("logistic", "fp32")])
def test_without_preprocessing_the_caller_normalizes(
    name: str, precision: str, exported: Export
) -> None:
    whole = exported(name, Variant(precision))
    session, meta = opened(exported(name, Variant(precision, preprocess="none")).graph)
    rows = whole.samples[:50]
    said = meta["normalize"]
    x = (rows / said["divide_by"] - said["mean"]) / said["std"]
    x = (x.transpose(0, 3, 1, 2) if x.ndim == 4 else x).astype(np.float32)
    port = session.get_inputs()[0]
    assert (port.name, port.type) == ("input", "tensor(float)")
    assert port.shape == ["batch", *x.shape[1:]]
    atol = 1e-4 if precision == "fp32" else 0.2  # a rounding that falls the other way is a step
    np.testing.assert_allclose(
        outputs(session, x), outputs(cpu_session(whole.graph), rows), atol=atol
    )


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_fixed_batch_is_in_every_shape(precision: str, exported: Export) -> None:
    fixed = exported("cnn", Variant(precision, batch=3))
    session = cpu_session(fixed.graph)
    shapes = [shape for _, _, shape in ports(session)]
    assert shapes == [[3, 28, 28, 1], [3, 10], [3, 10]]
    assert fixed.measured.samples == 10_000
    found = outputs(session, fixed.samples[:30], 3)
    want = outputs(cpu_session(exported("cnn", Variant(precision)).graph), fixed.samples[:30])
    np.testing.assert_allclose(found, want, atol={"fp32": 1e-4}.get(precision, 0.2))
    with pytest.raises(Exception, match="Got: 4 Expected: 3"):
        session.run(None, {"images": fixed.samples[:4]})


@pytest.mark.parametrize(
    ("name", "precision", "opset"),
    [
        ("softmax", "int8", 15),
        ("cnn", "fp16", 15),
        ("logistic", "fp32", 15),
        ("cnn", "int8", 18),
        ("logistic", "int8", 23),
        ("cnn", "fp32", 26),
    ],
)
def test_the_opset_is_the_one_asked_for(
    name: str, precision: str, opset: int, exported: Export
) -> None:
    model = onnx.load_from_string(exported(name, Variant(precision, opset=opset)).graph)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", opset)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"precision": "int4"}, "unknown precision 'int4'. Did you mean 'int8'?"),
        ({"preprocess": "no"}, "unknown preprocess 'no'."),
        ({"opset": 14}, "opset 14: expected 15 to 26"),
        ({"opset": 27}, "opset 27: expected 15 to 26"),
        ({"batch": 0}, "batch 0: expected 1 or more"),
        ({"precision": "int8", "opset": 20}, "opset 20: linear in int8 needs opset 21"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as error:
        export_bundle(Bundle.open("linear"), "x.onnx", Variant(**given))
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)
    assert not Path("x.onnx").exists()


@pytest.mark.parametrize("to", ["x.onnx", "folder/"])
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_variant_that_is_not_good_enough_is_not_written(
    to: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity, "MAX_DIFFERENCE", 1e-9)
    with pytest.raises(VerificationError, match=r"^not good enough on the 113 test.*written$"):
        export_bundle(Bundle.open("logistic"), to, Variant(precision=precision))
    monkeypatch.setattr(parity, "MAX_LOSS", -0.1)
    with pytest.raises(VerificationError, match=r"accuracy 0.99.*in fp32 0.99.*less\), largest"):
        export_bundle(Bundle.open("logistic"), to, Variant(precision=precision))
    assert not list(Path().iterdir())


@pytest.mark.usefixtures("exports_once")
def test_the_default_variant_is_the_shipped_file() -> None:
    measured = export_bundle(Bundle.open("softmax"), "again.onnx")
    shipped = Bundle.open("softmax").path / ONNX
    assert unversioned(Path("again.onnx").read_bytes()) == unversioned(shipped.read_bytes())
    assert measured.same_top1 == measured.samples == 10_000
    assert measured.test["accuracy"] == measured.fp32["accuracy"]


@pytest.mark.usefixtures("exports_once")
@pytest.mark.parametrize("name", ["cnn", "linear"])
def test_a_folder_becomes_a_bundle(name: str, digits: datasets.Split) -> None:
    measured = export_bundle(Bundle.open(name), "out/small/", Variant(precision="int8"))
    bundle = Path("out/small")
    card = Bundle.open(bundle).card
    assert card.title.endswith(", int8")
    assert card.test == measured.test
    assert not verify(bundle, device="cpu").problem
    assert evaluate(Bundle.open(bundle), device="cpu").metrics == pytest.approx(card.test)
    assert zoo.load(bundle).state_dict().keys() == zoo.load(name).state_dict().keys()
    if name == "cnn":
        found = zoo.Session(bundle, device="cpu").predict(digits.inputs[:500])
        assert np.mean(found.indices == digits.targets[:500]) > 0.98
    with pytest.raises(UsageError, match="expected a new or an empty folder"):
        export_bundle(Bundle.open(name), bundle, Variant(precision="fp16"))
    with pytest.raises(UsageError, match="raw inputs at any batch size: name a file"):
        export_bundle(Bundle.open(name), "other/", Variant(batch=8))
    assert not Path("other").exists()


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("cnn", Variant()),
        ("resnet", Variant(precision="int8")),
        ("rnn", Variant(precision="fp16", batch=2)),
        ("logistic", Variant(precision="int8", preprocess="none")),
        ("linear", Variant(opset=15)),
    ],
)
@pytest.mark.usefixtures("exports_once")
def test_vectors_hold_in_both_implementations(name: str, variant: Variant) -> None:
    export_bundle(Bundle.open(name), "vectors", variant, vectors=True)
    model = onnx.load("vectors/model.onnx")
    onnx.checker.check_model(model, full_check=True)
    task = zoo.card(name).task
    count = 1 if task == "regression" else 2
    inputs = []
    for number in range(4):
        folder = Path(f"vectors/test_data_set_{number}")
        tensors = [onnx.load_tensor(path) for path in sorted(folder.glob("*.pb"))]
        assert [tensor.name for tensor in tensors] == [
            value.name for value in (*model.graph.input, *model.graph.output)
        ]
        rows, *wanted = (onnx.numpy_helper.to_array(tensor) for tensor in tensors)
        assert len(wanted) == count
        assert len(rows) == (variant.batch or (3 if number == 1 else 1))
        session = ort.InferenceSession("vectors/model.onnx", providers=["CPUExecutionProvider"])
        for runs in (session, ReferenceEvaluator(model)):
            found = runs.run(None, {tensors[0].name: rows})
            for got, want in zip(found, wanted, strict=True):
                tolerance = vectors.TOLERANCES[variant.precision] * max(1, np.abs(want).max())
                np.testing.assert_allclose(got, want, atol=tolerance)
        inputs.append(rows)
    assert not inputs[2].any()
    assert (inputs[3] >= inputs[0]).all()
    with pytest.raises(UsageError, match="expected a new or an empty folder"):
        export_bundle(Bundle.open(name), "vectors", variant, vectors=True)


@pytest.mark.usefixtures("exports_once")
def test_vectors_that_disagree_are_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vectors.TOLERANCES, "fp32", -1.0)
    with pytest.raises(VerificationError, match=r"^prediction of test vector 0: ONNX Runtime and"):
        export_bundle(Bundle.open("linear"), "vectors", vectors=True)
    assert not Path("vectors").exists()


@pytest.mark.usefixtures("exports_once")
def test_the_command_writes_variants(zoo_cli: Callable[..., Any]) -> None:
    result = zoo_cli("export", "linear", "--precision", "int8", "--batch", 4, "--opset", 22)
    assert (result.exit_code, result.stdout) == (0, "linear-int8.onnx\n")
    assert "int8 R2 0.458, in torch R2 0.458; largest difference" in result.stderr
    model = onnx.load("linear-int8.onnx")
    assert model.opset_import[0].version == 22
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 4
    assert zoo_cli("export", "linear", "--precision", "int8", "-o", "small/").stdout == "small\n"
    assert zoo_cli("evaluate", "small").exit_code == 0
    assert zoo_cli("export", "linear", "--test-vectors", "held").stdout == "held\n"
    assert len(list(Path("held").glob("test_data_set_*"))) == 4
    both = zoo_cli("export", "linear", "--test-vectors", "new", "-o", "x.onnx")
    assert both.exit_code == 2
    refused = zoo_cli("export", "linear", "--precision", "int8", "--opset", 20)
    assert refused.exit_code == 2
    assert refused.stderr.count("\n") == 1
