"""`zoo.export`: a network of your own as an ONNX file that is proven to compute what torch does.

    parity = zoo.export(network, torch.zeros(2, 1, 28, 28), "net.onnx")

Lessons: nn and the standard flow, for any `nn.Module`; the zoo's own models: `zoo export`.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zoo.bundle.card import Parity
from zoo.errors import UsageError, VerificationError, ZooError, first_line, last_line
from zoo.export import parity
from zoo.export.graph import convert, to_bytes
from zoo.export.variant import OPSET, Variant
from zoo.files import write_atomic
from zoo.network.state import load_state, read_state
from zoo.runtime.providers import cpu_session

#: A file with a dynamic batch is compared at these numbers of rows, besides the example's own.
BATCHES = (1, 2, 3, 7)

Inputs = Tensor | NDArray[Any] | Sequence[Tensor | NDArray[Any]]


def export_network(
    network: nn.Module,
    example: Inputs,
    path: str | os.PathLike[str],
    *,
    state_dict: Mapping[str, Tensor] | str | os.PathLike[str] | None = None,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    opset: int = OPSET,
    dynamic: bool = True,
    metadata: Mapping[str, Any] | None = None,
) -> Parity:
    """Export any network to an ONNX file, and compare the file with torch before it is written.

    The network itself stays as it is: a copy is exported, on the CPU, in eval mode.

    Args:
        network: takes the example's tensors, and returns a tensor, or a tuple or a dict of
            tensors, nested or not; what torch.compile or DataParallel put around one is left out.
        example: its input, or a tuple of its inputs: real rows, any dtype; the file is compared
            with torch on them.
        path: the file to write; its folder is created.
        state_dict: weights to load first: a state dict, or the path of one (`.pth`, `.safetensors`;
            read without running code in it). None: the weights that the network has.
        inputs: names of the file's inputs; "input", or "input0", "input1", ...
        outputs: names of its outputs; the keys of a dict, "output", or "output0", "output1", ...
        opset: 15 to 26.
        dynamic: whether the file takes any number of rows; otherwise as many as the example.
        metadata: written into the file: text as it is, other values as JSON.

    Returns:
        The largest difference between ONNX Runtime and torch on the example, over all outputs, and
        how many rows of the first output have the same largest value.

    Raises:
        UsageError: an argument that cannot be. DataError: the state dict does not fit.
        VerificationError: torch cannot export the network, or ONNX Runtime's outputs are further
            from torch's than `zoo.export.parity` allows; nothing was written.
        OSError: the file cannot be written.
    """
    if not isinstance(network, nn.Module):
        raise UsageError(f"network: expected an nn.Module, given {type(network).__name__}")
    Variant(opset=opset)  # its range
    samples = _tensors(example)
    rows = {len(sample) for sample in samples}
    if len(rows) != 1 or 0 in rows:
        raise UsageError(f"example: expected inputs of one batch, given {sorted(rows)} rows")
    network = copy.deepcopy(_bare(network)).cpu().eval()
    if isinstance(state_dict, (str, os.PathLike)):
        load_state(network, read_state(Path(state_dict)), str(state_dict))
    elif state_dict is not None:
        load_state(network, state_dict, "state_dict")
    expected = _run(network, samples)
    names_in = _names("input", inputs, len(samples))
    keys = None if set(expected) & set(names_in) else list(expected)  # no name twice in a graph
    names_out = _names("output", keys if outputs is None else outputs, len(expected))
    two = tuple(_resized(sample, 2) for sample in samples)  # torch takes one row for a constant
    try:
        model = convert(
            network, two if dynamic else samples, names_in, names_out, opset=opset, dynamic=dynamic
        )
        graph = to_bytes(model, metadata or {})
    except ZooError:
        raise
    except Exception as error:  # the exporter's own, whose cause says which line of the network
        cause = first_line(error.__cause__ or error)
        raise VerificationError(f"torch cannot export the network: {cause}") from None
    found = _proven(graph, network, samples, names_in, list(expected.values()), dynamic=dynamic)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_atomic(Path(path), graph)
    return found


def _bare(network: nn.Module) -> nn.Module:
    """Return the network itself where torch.compile or DataParallel has put one around it."""
    inner: Any = getattr(network, "_orig_mod", None)
    if isinstance(network, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        inner = network.module
    return network if inner is None else _bare(inner)


def _tensors(example: Inputs) -> tuple[Tensor, ...]:
    """Return the example's inputs as tensors on the CPU.

    Raises:
        UsageError: one is no tensor with a batch.
    """
    parts = example if isinstance(example, (tuple, list)) else (example,)
    for part in parts:
        if not isinstance(part, (Tensor, np.ndarray)) or not part.ndim:
            raise UsageError(
                f"example: expected a tensor with the batch first, or a tuple of them, "
                f"given {type(part).__name__}"
            )
    tensors = tuple(torch.as_tensor(part).detach().cpu() for part in parts)
    for tensor in tensors:
        if np.isnan(_array("example", tensor)).any():
            raise UsageError("example: expected numbers to compare with torch on, given NaN")
    return tensors


def _array(what: str, tensor: Tensor) -> NDArray[Any]:
    """Return a tensor as an array.

    Raises:
        UsageError: there are no arrays of its dtype, which ONNX Runtime takes and returns.
    """
    try:
        array: NDArray[Any] = tensor.numpy()
        return array
    except TypeError:
        raise UsageError(
            f"{what}: there are no NumPy arrays of {tensor.dtype}; export network.float() with an "
            f"example in float32"
        ) from None


def _names(kind: str, given: Sequence[str] | None, count: int) -> list[str]:
    """Return the names of inputs or outputs.

    Raises:
        UsageError: not as many as there are, or one twice.
    """
    if given is None:
        return [kind] if count == 1 else [f"{kind}{number}" for number in range(count)]
    if isinstance(given, str) or len(given) != count or len(set(given)) != count:
        raise UsageError(f"{kind}s: expected {count} different names, given {given!r}")
    return list(given)


def _resized(rows: Tensor, size: int) -> Tensor:
    """Return the first `size` rows, repeated where there are fewer."""
    return rows[torch.arange(size) % len(rows)]


def _run(network: nn.Module, samples: Sequence[Tensor]) -> dict[str, NDArray[Any]]:
    """Run the network in torch; return its outputs by name: a dict's keys, or "output", ...

    Raises:
        UsageError: it does not take the example, or returns something else than tensors.
    """
    try:
        with torch.inference_mode():
            found = network(*samples)
    except Exception as error:  # the user's own
        raise UsageError(
            f"the network does not take {len(samples[0])} rows of the example: {last_line(error)}"
        ) from None
    flat = list(_flat("", found))
    if not flat or not all(isinstance(output, Tensor) for _, output in flat):
        raise UsageError(
            f"the network returns {type(found).__name__}: expected a tensor, or a tuple or a dict "
            f"of tensors"
        )
    names = [key for key, _ in flat]
    if not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(flat):
        names = _names("output", None, len(flat))
    return {
        name: _array(f"output {name!r}", output)
        for name, (_, output) in zip(names, flat, strict=True)
    }


def _flat(name: Any, found: Any) -> Iterator[tuple[Any, Any]]:
    """Yield outputs one after another, as the exporter writes them, with the key of each."""
    if isinstance(found, Mapping):
        for key, part in found.items():
            yield from _flat(key, part)
    elif isinstance(found, (tuple, list)):
        for part in found:
            yield from _flat("", part)
    else:
        yield name, found


def _proven(
    graph: bytes,
    network: nn.Module,
    samples: Sequence[Tensor],
    names: Sequence[str],
    expected: Sequence[NDArray[Any]],
    *,
    dynamic: bool,
) -> Parity:
    """Compare a file with torch on the example, and at several numbers of rows.

    Raises:
        VerificationError: ONNX Runtime does not load or run it, or an output is too far from
            torch's.
    """
    try:
        session = cpu_session(graph)
    except Exception as error:
        raise VerificationError(
            f"ONNX Runtime does not load the file: {last_line(error)}"
        ) from None
    exact = _exact(network, samples)
    largest = 0.0
    sizes = sorted({len(samples[0]), *(BATCHES if dynamic else ())})
    first = expected[0]
    for size in sizes:
        chosen = [_resized(sample, size) for sample in samples]
        want = expected if size == len(samples[0]) else list(_run(network, chosen).values())
        arrays = [rows.numpy() for rows in chosen]
        try:
            got = session.run(None, dict(zip(names, arrays, strict=True)))
        except Exception as error:  # a network that writes the example's rows into the graph
            raise VerificationError(
                f"the ONNX file does not take {size} rows: {first_line(error)}; has the network "
                f"len(x) where x.shape[0] is meant? Or export one size: dynamic=False"
            ) from None
        for number, (ours, torchs) in enumerate(zip(got, want, strict=True)):
            explained = parity.rounding(torchs, exact[number] if exact else 0.0)
            limit = max(parity.ATOL, explained)
            difference = _difference(ours, torchs)
            if not difference <= limit:
                raise VerificationError(
                    f"the ONNX file disagrees with torch at {size} rows, output {number}: largest "
                    f"difference {difference:.2e} (allowed {limit:.1e}); nothing was written"
                )
            largest = max(largest, difference)
        if size == len(samples[0]):
            first = got[0]
    rows = len(first) if first.ndim else 1
    pair = [each.reshape(rows, -1).argmax(axis=1) for each in (first, expected[0])]
    return Parity(largest, int((pair[0] == pair[1]).sum()), rows)


def _difference(ours: NDArray[Any], torchs: NDArray[Any]) -> float:
    """Return the largest difference; infinite where the shapes or the NaNs differ."""
    if ours.shape != torchs.shape:
        return float("inf")
    a, b = ours.astype(np.float64), torchs.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return float(np.where(same, 0.0, np.abs(a - b)).max(initial=0.0))


def _exact(network: nn.Module, samples: Sequence[Tensor]) -> list[float]:
    """Return how far each output is from the same network in float64; [] where that fails."""
    try:
        double = copy.deepcopy(network).double()
        wide = [sample.double() if sample.is_floating_point() else sample for sample in samples]
        single, exact = _run(network, samples), _run(double, wide)
        return [_difference(single[name], exact[name]) for name in single]
    except UsageError:  # a network that insists on float32
        return []
