"""Several processes, one training: what `zoo train` does where torchrun starts it.

    torchrun --nproc-per-node 2 --no-python zoo train cnn --out runs/cnn

Each worker takes its share of the rows of every batch and DistributedDataParallel adds up the
gradients, so that after each step the weights are those of one process, but for rounding. Worker 0
alone validates, writes and speaks. When a worker is lost, `torchrun --max-restarts 1` starts all of
them again, and they go on from the run's last checkpoint (all must see the run's folder).
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import DeviceError, Interrupted, UsageError, ZooError
from zoo.network.device import torch_device

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

#: A worker that has not answered for so long is lost. Worker 0 validates while the others wait.
TIMEOUT = timedelta(minutes=10)
#: Steps between two questions whether to stop.
_ASK_EVERY = 8
#: Seconds in which worker 0 has told an error, and torchrun has ended the others.
_PATIENCE = 10.0
#: What torch says, besides its DistError, when the other end is gone.
_GONE = ("gloo", "connection", "nccl", "socket", "timed out")


class LostWorker(ZooError):
    """Another worker of the training was killed, or does not answer."""


def launched() -> bool:
    """Say whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def first() -> bool:
    """Say whether this process is the one that writes and speaks."""
    return not launched() or os.environ["RANK"] == "0"


def restarted() -> bool:
    """Say whether torchrun started the workers again after one was lost."""
    return launched() and os.environ["TORCHELASTIC_RESTART_COUNT"] != "0"


@dataclass(frozen=True)
class Workers:
    """The processes of one training, as one of them sees them; alone where there is one."""

    device: torch.device
    rank: int = 0
    count: int = 1
    alone: bool = True

    @property
    def command(self) -> str:
        """What stands before the command that trains like this."""
        return "" if self.alone else f"torchrun --nproc-per-node {self.count} --no-python "

    def wrap(self, network: nn.Module) -> nn.Module:
        """Return the network to call: its gradients are those of all workers' rows.

        Raises:
            UsageError: it has batch normalization, and the device is not CUDA.
        """
        if self.alone:
            return network
        from torch import nn

        if any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in network.modules()):
            if self.device.type != "cuda":
                raise UsageError(
                    f"{type(network).__name__} has batch normalization, which torch computes over "
                    f"all workers on CUDA alone: train it in one process, or on --device cuda"
                )
            nn.SyncBatchNorm.convert_sync_batchnorm(network)
        ids = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(network, device_ids=ids)

    def own_rows(self, rows: int) -> tuple[slice, float]:
        """Return which rows of a batch are this worker's, and the weight of their mean loss.

        The mean of the weighted losses of all workers is the mean over the batch, however it is
        split. A worker without a row takes the first one, with weight 0: it still has to answer.
        """
        if self.alone:
            return slice(None), 1.0
        begin, end = (rows * rank // self.count for rank in (self.rank, self.rank + 1))
        if begin == end:
            return slice(1), 0.0
        return slice(begin, end), (end - begin) * self.count / rows

    def mean(self, value: Tensor) -> float:
        """Return the mean of the workers' values of a scalar; all have to call it."""
        if not self.alone:
            from torch import distributed as dist

            dist.all_reduce(value)
        return value.item() / self.count

    def any(self, said: bool) -> bool:
        """Say whether any worker says so; all have to call it, and wait for each other."""
        if self.alone:
            return said
        import torch
        from torch import distributed as dist

        flag = torch.tensor(int(said))  # on the CPU: does not wait for the GPU's queue
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return bool(flag)

    def stop(self, asked: bool, step: int) -> bool:
        """Say whether any worker was asked to stop; they tell each other every eighth step."""
        return asked if self.alone else step % _ASK_EVERY == 0 and self.any(asked)


@contextmanager
def workers(device: str, run: Path) -> Iterator[Workers]:
    """Join the other workers, if torchrun started this process, and train with them.

    Args:
        device: "auto", "cpu", "cuda" or "mps"; several workers share out the GPUs.
        run: the run's folder, for the message.

    Raises:
        UsageError: no such device name, or one that cannot be shared.
        DeviceError: the device is not there, or there are fewer than workers.
        LostWorker: another worker was killed, or does not answer.
    """
    if not launched():
        yield Workers(torch_device(device))
        return
    import torch
    from torch import distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    place = torch_device(device)
    if place.type == "mps":
        if device != "auto":
            raise UsageError("device 'mps' trains in one process: start it without torchrun")
        place = torch.device("cpu")
    if place.type == "cuda":
        place = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        if place.index >= (gpus := torch.cuda.device_count()):
            raise DeviceError(f"worker {rank} needs GPU {place.index}; torch sees {gpus}")
        torch.cuda.set_device(place)
    backend = "cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo"
    with contextlib.ExitStack() as stack:
        if rank:  # what worker 0 says is said once
            silence = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stderr(silence))
        try:
            store, _, _ = next(rendezvous("env://", timeout=TIMEOUT))
            # torchrun keeps its store over a restart: the addresses in it are of dead workers
            store = PrefixStore(os.environ["TORCHELASTIC_RESTART_COUNT"], store)
            dist.init_process_group(
                backend, store=store, rank=rank, world_size=count, timeout=TIMEOUT
            )
            yield Workers(place, rank, count, alone=False)
            dist.destroy_process_group()
        except RuntimeError as error:
            said = re.sub(r"\[\S+:\d+\] |(\. |\n).*", "", str(error).strip(), flags=re.S)
            lost = isinstance(error, dist.DistError) or any(w in said.lower() for w in _GONE)
            if not lost:
                raise
            raise LostWorker(
                f"worker {rank} of {count}: another worker is lost ({said}); go on from the last "
                f"checkpoint with: zoo train --resume {run}, or start with torchrun --max-restarts"
            ) from error


@contextmanager
def one_voice() -> Iterator[None]:
    """Let worker 0 alone tell an error that all workers meet; the others end here, silently.

    They do not wait for the interpreter's own end: gloo's threads outlive their group, and one that
    still lets go of a tensor then would abort the process.
    """
    if first():
        yield
        return
    try:
        yield
        os._exit(0)
    except Interrupted as stop:
        os._exit(stop.exit_code)
    except ZooError as error:
        if not isinstance(error, LostWorker):
            time.sleep(_PATIENCE)  # an error of this worker alone is told after that
        raise
