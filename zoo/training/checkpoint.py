"""The checkpoint: everything that a training needs to be resumed as if it had never stopped.

One safetensors file; the tensors are named `network.*`, `average.*`, `best.*` and
`optimizer.<which>.<parameter>.<name>`, the rest is one JSON text in the header, with the SHA-256
of the file. Nothing is pickled. The checkpoint before it is kept: whenever a training is killed,
and whatever happens to one file, there is a complete one.
"""

from __future__ import annotations

import hashlib
import struct
import sys
from pathlib import Path

import msgspec
import safetensors.torch
from msgspec import Struct
from torch import Tensor

from zoo.bundle.card import Stretch
from zoo.bundle.run import EpochLog, Plan
from zoo.errors import UsageError, ZooError
from zoo.files import write_atomic
from zoo.recipe import Recipe
from zoo.training import distributed

NAME, PREVIOUS = "checkpoint.safetensors", "checkpoint.previous.safetensors"
_NEW = "checkpoint.new.safetensors"
#: The header's keys of the state and of the digest; the number is the format's.
_KEY, _DIGEST = "zoo.checkpoint.5", "sha256"
#: Stands in the digest's place while it is computed: the digest is of a file that holds it.
_BLANK = b"0" * 64


#: The identity of the file that this process wrote last.
_last_written: tuple[int, ...] = ()

#: Group (network, average, best, optimizer) -> name -> tensor.
Tensors = dict[str, dict[str, Tensor]]


class Progress(Struct, kw_only=True, forbid_unknown_fields=True):
    """Where a training stands."""

    model: str
    recipe: Recipe
    #: The SHA-256 of the teacher's weights; "" without a teacher.
    teacher: str = ""
    #: The SHA-256 of the data; "" before they are loaded.
    data: str = ""
    #: Optimizer steps taken since the training began.
    step: int = 0
    #: Of the current epoch so far: the sum of the batches' losses, and the seconds of training.
    loss_sum: float = 0.0
    seconds: float = 0.0
    history: list[EpochLog] = []  # msgspec copies it for each instance
    #: The validation metrics of the epoch whose weights are kept, so far, and its number from 1.
    best: dict[str, float] | None = None
    best_epoch: int = 0
    #: The CPU threads of each part of the training; a new one begins where their number changes.
    stretches: list[Stretch] = []

    def enter_threads(self, threads: int) -> None:
        """Note how many CPU threads the next steps have."""
        stretches = [each for each in self.stretches if each.step < self.step]
        if not stretches or stretches[-1].threads != threads:
            stretches.append(Stretch(self.step, threads))
        self.stretches = stretches


def save(run: Path, progress: Progress, tensors: Tensors) -> None:
    """Write the checkpoint, complete or not at all, and keep the one before.

    A kill between any two steps leaves a complete checkpoint under one of the two names.

    Args:
        run: the folder.
        progress: where the training stands.
        tensors: group -> name -> tensor, on any device.

    Raises:
        OSError: no space, no permission; the files from before are untouched.
    """
    global _last_written
    flat = {
        f"{group}.{name}": tensor.detach().to("cpu").contiguous()
        for group, named in tensors.items()
        for name, tensor in named.items()
    }
    text = msgspec.json.encode(progress).decode()
    data = safetensors.torch.save(flat, {_KEY: text, _DIGEST: _BLANK.decode()})
    digest = hashlib.sha256(data).hexdigest()
    write_atomic(run / _NEW, data.replace(_BLANK, digest.encode(), 1))  # the header comes first
    if _is_complete(run / NAME, Plan(progress.model, progress.recipe)):
        (run / NAME).replace(run / PREVIOUS)
    (run / _NEW).replace(run / NAME)
    _last_written = _identity(run / NAME)


def _is_complete(path: Path, plan: Plan) -> bool:
    """Whether a checkpoint may take the place of the one before it.

    To read and hash it takes as long as to write one, so that is done once in a process: the file
    that this process wrote, and that nobody has touched since, is complete.
    """
    try:
        if _last_written == _identity(path):
            return True
        _read(path, plan)
    except (OSError, ZooError):
        return False
    return True


def _identity(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def exists(run: Path) -> bool:
    """Return whether a folder has a checkpoint, complete or not."""
    return (run / NAME).exists() or (run / PREVIOUS).exists()


def load(run: Path, plan: Plan | None = None) -> tuple[Progress, Tensors]:
    """Read what `save` wrote last; if it is damaged, print that and read the one before.

    Args:
        run: the folder.
        plan: the model and recipe of the training; None: any.

    Raises:
        UsageError: the folder has no checkpoint.
        ZooError: both are torn, changed, of another program, or of another training.
    """
    if not exists(run):
        raise UsageError(f"{run}: nothing to resume, {NAME} is missing")
    problems: list[str] = []
    for path in (run / NAME, run / PREVIOUS):
        try:
            progress, data = _read(path, plan)
        except ZooError as error:
            problems.append(str(error))
            continue
        if problems and distributed.first():
            print(f"zoo: {problems[0]}; resuming from {path.name}", file=sys.stderr)
        tensors: Tensors = {}
        for key, tensor in safetensors.torch.load(data).items():
            group, _, name = key.partition(".")
            tensors.setdefault(group, {})[name] = tensor
        return progress, tensors
    raise ZooError("; ".join(problems))


class _Header(Struct):
    metadata: dict[str, str] = msgspec.field(name="__metadata__", default_factory=dict)


def _read(path: Path, plan: Plan | None) -> tuple[Progress, bytes]:
    """Read a file and check its bytes.

    Raises:
        ZooError: what is wrong with it.
    """
    try:
        data = path.read_bytes()
        (header_size,) = struct.unpack_from("<Q", data)
        metadata = msgspec.json.decode(data[8 : 8 + header_size], type=_Header).metadata
        if not metadata.keys() >= {_KEY, _DIGEST}:
            raise ValueError(f"no {_KEY!r} in its header; another program or version wrote it")
        digest = metadata[_DIGEST]
        if hashlib.sha256(data.replace(digest.encode(), _BLANK, 1)).hexdigest() != digest:
            raise ValueError("checksum mismatch (SHA-256)")
        progress = msgspec.json.decode(metadata[_KEY], type=Progress)
        if plan and (other := _difference(progress, plan)):
            raise ValueError(f"it is of another training: {other}")
    except FileNotFoundError:
        raise ZooError(f"{path} is missing") from None
    except OSError as error:
        raise ZooError(f"{path} cannot be read: {error.strerror}") from None
    except (struct.error, ValueError) as error:  # msgspec's errors are ValueErrors too
        raise ZooError(f"{path} is not a complete checkpoint of the zoo: {error}") from None
    return progress, data


def _difference(progress: Progress, plan: Plan) -> str:
    actual, expected = (
        {"model": training.model} | msgspec.structs.asdict(training.recipe)
        for training in (progress, plan)
    )
    return ", ".join(
        f"{name} {value}, expected {expected[name]}"
        for name, value in actual.items()
        if value != expected[name]
    )
