"""State dicts of the user's own files: read without running code in them, and loaded by name."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from zoo.errors import DataError, first_line, listed

#: Under these names training programs keep the state dict in a larger checkpoint.
_NESTED = ("state_dict", "model_state_dict", "model_state", "model")


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict: what `torch.save(network.state_dict(), path)` wrote, or safetensors.

    The prefix "module." of `nn.DataParallel` is removed. No code in the file is run.

    Raises:
        DataError: no such file, or it is not a state dict.
    """
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle protocol of other files
            found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (
        Exception
    ) as error:  # torch's reader of other files: KeyError, EOFError, RuntimeError ...
        reason = "not a file that torch.save or safetensors wrote, or damaged"
        if isinstance(error, pickle.UnpicklingError) and "Unsupported global" in str(error):
            reason = "it holds Python objects. Save network.state_dict(), not the network itself"
        elif isinstance(error, OSError):
            reason = first_line(error)
        raise DataError(f"{path} is not a state dict: {reason}") from None
    for name in _NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    if not isinstance(found, Mapping) or not found:
        raise DataError(f"{path} is not a state dict: found {type(found).__name__}")
    strange = [str(name) for name, value in found.items() if not isinstance(value, Tensor)]
    if strange:
        raise DataError(f"{path} is not a state dict: no tensors: {listed(strange)}")
    return {str(name).removeprefix("module."): value for name, value in found.items()}


def load_state(network: nn.Module, state: Mapping[str, Tensor], source: str) -> list[str]:
    """Load a state dict into a network; where only the names differ, in order of the layers.

    Args:
        network: takes all of the state.
        state: name -> tensor.
        source: names the state in messages.

    Returns:
        "theirs -> ours" of each tensor that was taken by its place; empty if the names agree.

    Raises:
        DataError: what is missing, what is too much, or which shape is another.
    """
    own = network.state_dict()
    renamed: list[str] = []
    if state.keys() != own.keys() and [value.shape for value in state.values()] == [
        value.shape for value in own.values()
    ]:
        pairs = list(zip(state, own, strict=True))
        renamed = [f"{theirs} -> {ours}" for theirs, ours in pairs if theirs != ours]
        state = {ours: state[theirs] for theirs, ours in pairs}
    missing = [name for name in own if name not in state]
    if missing:
        raise DataError(f"{source} has no {listed(missing)}; it has {listed(list(state))}")
    if more := [name for name in state if name not in own]:
        raise DataError(f"{source} has {listed(more)}, which the network has not")
    for name, value in own.items():
        if state[name].shape != value.shape:
            raise DataError(
                f"{source}: {name} is {list(state[name].shape)}, expected {list(value.shape)}"
            )
    network.load_state_dict(dict(state))
    return renamed
