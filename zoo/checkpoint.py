"""The checkpoint: everything a training needs to go on as if it had never stopped.

One safetensors file; the tensors are named `network.*`, `average.*`, `best.*` and
`optimizer.<parameter>.<name>`, the rest is one JSON text in the header. Nothing is pickled.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import msgspec
import safetensors.torch
import torch
from msgspec import Struct
from safetensors import SafetensorError
from torch import Tensor

from zoo.entry import Recipe
from zoo.errors import UsageError, ZooError
from zoo.files import write_atomic

NAME = "checkpoint.safetensors"
_KEY = "zoo.checkpoint"


class EpochLog(Struct, frozen=True, forbid_unknown_fields=True):
    """One line of `log.jsonl`. Seconds are those of training alone, without validation."""

    epoch: int
    loss: float
    lr: float
    validation: dict[str, float]
    seconds: float
    images_per_second: float


class Progress(Struct, kw_only=True, forbid_unknown_fields=True):
    """Where a training stands."""

    model: str
    recipe: Recipe
    #: Optimizer steps done, in all.
    step: int = 0
    #: Of the current epoch so far: the sum of the batch losses, and the training seconds.
    loss_sum: float = 0.0
    seconds: float = 0.0
    history: list[EpochLog] = []  # msgspec copies it for each instance
    #: The best validation metrics so far, and their epoch.
    best: dict[str, float] | None = None
    best_epoch: int = 0


def save(run: Path, progress: Progress, tensors: dict[str, dict[str, Tensor]]) -> None:
    """Write the checkpoint, whole or not at all. `tensors`: group -> name -> tensor."""
    flat = {
        f"{group}.{name}": tensor.detach().to("cpu").contiguous()
        for group, named in tensors.items()
        for name, tensor in named.items()
    }
    text = msgspec.json.encode(progress).decode()
    write_atomic(run / NAME, safetensors.torch.save(flat, {_KEY: text}))


def load(run: Path) -> tuple[Progress, dict[str, dict[str, Tensor]]]:
    """Read what `save` wrote.

    Raises:
        UsageError: the folder has no checkpoint. ZooError: it is torn or not the zoo's.
    """
    path = run / NAME
    if not path.is_file():
        raise UsageError(f"{run}: nothing to resume, {NAME} is missing")
    try:
        data = path.read_bytes()
        flat = safetensors.torch.load(data)
        (header_size,) = struct.unpack("<Q", data[:8])
        header = msgspec.json.decode(data[8 : 8 + header_size])
        progress = msgspec.json.decode(header["__metadata__"][_KEY], type=Progress)
    except (SafetensorError, msgspec.DecodeError, KeyError, struct.error) as error:
        raise ZooError(f"{path} is no whole checkpoint of the zoo: {error}") from None
    tensors: dict[str, dict[str, Tensor]] = {}
    for key, tensor in flat.items():
        group, _, name = key.partition(".")
        tensors.setdefault(group, {})[name] = tensor
    return progress, tensors


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Flatten the optimizer's state: `<parameter number>.<name>` -> tensor."""
    state: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": value
        for number, named in state.items()
        for name, value in named.items()
        if isinstance(value, Tensor)
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
