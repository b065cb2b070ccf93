"""The shipped bundles: every published number, measured again on the whole test set."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from conftest import ROOT, contract_of

import zoo
from zoo import datasets, registry
from zoo.bundle.card import CARD, ONNX, WEIGHTS
from zoo.bundle.folder import Bundle, shipped
from zoo.evaluation import metrics
from zoo.evaluation.evaluate import evaluate
from zoo.export.parity import BATCHES
from zoo.runtime.providers import cpu_session
from zoo.training import distillation

#: Of the mean over the seeds.
FLOORS = {
    "logistic": 0.96,
    "softmax": 0.993,
    "cnn": 0.994,
    "googlenet": 0.995,
    "resnet": 0.9962,
    "rnn": 0.99,
    "rnn_cell": 0.99,
}
NAMES = shipped()
#: Those that ship in int8 as well.
QUANTIZED, INT8 = ("softmax", "googlenet", "rnn", "rnn_cell"), "model-int8.onnx"


def test_all_eight_ship() -> None:
    assert sorted(NAMES) == sorted([*FLOORS, "linear"])


@pytest.mark.parametrize("name", NAMES)
def test_the_card_holds_on_the_whole_test_set(name: str) -> None:
    bundle = Bundle.open(name)
    card = bundle.card
    bundle.check()
    found = evaluate(bundle, device="cpu")
    assert len(found.outputs) == card.dataset.test
    for key, value in card.test.items():
        tolerance = {"abs": 2e-4} if key == "accuracy" else {"rel": 1e-3}
        assert found.metrics[key] == pytest.approx(value, **tolerance)
    if name in FLOORS:
        assert card.seeds is not None
        assert card.seeds.mean >= FLOORS[name]
        assert len(card.seeds.seeds) >= 5 or card.training.seconds > 600
        shipped = card.seeds.seeds.index(card.recipe.seed)
        assert card.seeds.values[shipped] == card.test["accuracy"]
        assert np.abs(np.array(found.confusion) - np.array(card.confusion)).sum() <= 4
        assert sum(map(sum, card.confusion)) == card.dataset.test
    recipe = registry.get(name).recipe
    assert card.recipe.replace(seed=recipe.seed) == recipe, "trained by the recipe that ships"


@pytest.mark.parametrize("name", NAMES)
def test_all_teachers_ship_back_to_one_that_had_none(name: str) -> None:
    card = zoo.card(name)
    names = [name]
    while card.recipe.teacher:
        assert card.recipe.teacher not in names, "nobody learns from itself"
        names.append(card.recipe.teacher)
        assert card.training.teacher == distillation.weights(card.recipe)
        bundle = Bundle.open(card.recipe.teacher)
        taught_by = bundle.card
        bundle.check()
        assert taught_by.dataset.sha256 == card.dataset.sha256
        card = taught_by
    assert not card.training.teacher


@pytest.mark.parametrize("name", NAMES)
def test_torch_and_onnx_agree_on_the_whole_test_set(
    name: str, torch_outputs: Callable[[str], np.ndarray]
) -> None:
    card = zoo.card(name)
    inputs = datasets.load(card.dataset.name).test.inputs
    expected = torch_outputs(name)
    session = cpu_session(Bundle.open(name).read(ONNX))
    feed = session.get_inputs()[0].name
    for batch in BATCHES:
        some = np.resize(inputs, (batch, *inputs.shape[1:]))
        found = session.run(None, {feed: some})[0]
        want = np.resize(expected, found.shape)
        np.testing.assert_allclose(found, want, rtol=1e-6, atol=1e-4)
    whole = zoo.Session(name, device="cpu").run(inputs)[0]
    assert np.abs(whole - expected).max() <= (1e-4 if card.labels else 1e-3)
    assert (whole.argmax(axis=1) == expected.argmax(axis=1)).all()
    assert card.parity.same_top1 == card.parity.samples == len(inputs)
    assert card.parity.max_abs_difference <= 1e-4


@pytest.mark.parametrize("name", QUANTIZED)
def test_the_int8_file_is_as_accurate(name: str) -> None:
    card = zoo.card(name)
    test = datasets.load(card.dataset.name).test
    found = zoo.Session(name, file=INT8, device="cpu").run(test.inputs)[0]
    measured = metrics.measure(card.task, found, test.targets)
    assert measured["accuracy"] >= card.test["accuracy"] - 0.001
    data = Bundle.open(name).read(INT8)
    model = onnx.load_model_from_string(data)
    said = contract_of({prop.key: prop.value for prop in model.metadata_props})["measured"]
    assert said["test"]["accuracy"] == pytest.approx(measured["accuracy"], abs=2e-4)
    assert len(data) < 0.6 * len(Bundle.open(name).read(ONNX))


@pytest.mark.parametrize(
    ("name", "file"), [(name, ONNX) for name in NAMES] + [(name, INT8) for name in QUANTIZED]
)
def test_the_onnx_file_keeps_its_contract(name: str, file: str) -> None:
    bundle = Bundle.open(name)
    card = bundle.card
    data = (bundle.path / file).read_bytes()
    model = onnx.load_model_from_string(data)
    assert (model.ir_version, [o.version for o in model.opset_import]) == (9, [20])
    for spec, value in zip(
        (*card.inputs, *card.outputs), (*model.graph.input, *model.graph.output), strict=True
    ):
        tensor = value.type.tensor_type
        shape = tuple(dim.dim_param or dim.dim_value for dim in tensor.shape.dim)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
        assert (value.name, dtype, shape) == (spec.name, spec.dtype, spec.shape)
    meta = contract_of({prop.key: prop.value for prop in model.metadata_props})
    assert meta["labels"] == list(card.labels)
    assert (meta["name"], meta["task"]) == (name, card.task)
    assert meta["weights_sha256"] == card.files[WEIGHTS]
    assert "zoo_version" in meta
    assert not [i for i in model.graph.initializer if i.data_location == onnx.TensorProto.EXTERNAL]
    for word in (b"site-packages", b"/home", b"/root", b"/tmp", b".py", str(ROOT).encode()):
        assert word not in data
    # the card holds no path of the machine it was made on either
    assert str(ROOT) not in (bundle.path / CARD).read_text()


@pytest.mark.parametrize("name", NAMES)
def test_the_card_is_complete(name: str) -> None:
    card = zoo.card(name)
    entry = registry.get(name)
    assert (card.name, card.title, card.parameters) == (name, entry.title, entry.parameters)
    seed = card.recipe.seed
    seeded = f" --set seed={seed}" if seed != entry.recipe.seed else ""
    assert card.training.command == f"zoo train {name}{seeded}"
    assert card.training.seconds > 0
    assert card.training.hardware
    assert {"torch", "onnx", "python", "zoo"} <= set(card.training.versions)
    assert card.dataset.sha256 == datasets.load(card.dataset.name).sha256
    assert card.license
    assert card.limits
    assert set(card.files) == {WEIGHTS, ONNX} | ({INT8} if name in QUANTIZED else set())


def test_the_tables_are_those_of_the_cards() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "tables.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
