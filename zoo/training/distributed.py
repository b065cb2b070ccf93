"""Several processes, one training: what `zoo train` does where torchrun starts it.

    torchrun --nproc-per-node 2 --no-python zoo train cnn --out runs/cnn

Each worker takes its own rows of every batch and DistributedDataParallel adds up the gradients, so
that after each step the weights are those of one process, but for rounding. Worker 0 alone
validates, writes and prints. When a worker is lost, `torchrun --max-restarts 1` starts all of them
again, and they resume from the run's last checkpoint (all must see the run's folder).
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

#: A worker that has not answered for so long is lost; the others wait while worker 0 validates.
TIMEOUT = timedelta(minutes=10)
#: Steps between two agreements on whether to stop: each is a message between all workers.
_ASK_EVERY = 8
#: Grace period in seconds: by then worker 0 has printed an error that all workers meet, and
#: torchrun has ended the others.
_GRACE = 10.0
#: Words in torch's errors, besides its DistError, when the other end of a connection is gone.
_GONE = ("gloo", "connection", "nccl", "socket", "timed out")


class LostWorker(ZooError):
    """Another worker of the training was killed, or does not answer."""


def launched() -> bool:
    """Return whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def first() -> bool:
    """Return whether this process is the one that writes and prints."""
    return not launched() or os.environ["RANK"] == "0"


def restarted() -> bool:
    """Return whether torchrun started the workers again after one was lost."""
    return launched() and os.environ["TORCHELASTIC_RESTART_COUNT"] != "0"


@dataclass(frozen=True)
class Workers:
    """The processes of one training, as one of them sees them."""

    device: torch.device
    rank: int = 0
    count: int = 1
    alone: bool = True

    @property
    def command(self) -> str:
        """What to write before `zoo train` to train with as many processes."""
        return "" if self.alone else f"torchrun --nproc-per-node {self.count} --no-python "

    def wrap(self, network: nn.Module) -> nn.Module:
        """Return the network to call, whose gradients are those of all workers' rows.

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

        The mean of the weighted losses of all workers is the mean over the batch, even where it
        does not divide evenly. A worker without a row takes the first one, with weight 0, since
        every worker has to take part in adding up the gradients.
        """
        if self.alone:
            return slice(None), 1.0
        begin, end = (rows * rank // self.count for rank in (self.rank, self.rank + 1))
        if begin == end:
            return slice(1), 0.0
        return slice(begin, end), (end - begin) * self.count / rows

    def mean(self, value: Tensor) -> float:
        """Return the mean of a scalar over the workers; all of them have to call it."""
        if not self.alone:
            from torch import distributed as dist

            dist.all_reduce(value)
        return value.item() / self.count

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any worker; all have to call it, and wait for it."""
        if self.alone:
            return flag
        import torch
        from torch import distributed as dist

        flags = torch.tensor(int(flag))  # on the CPU: does not wait for the GPU's queue
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        return bool(flags)

    def stop(self, requested: bool, step: int) -> bool:
        """Return whether to stop now: all workers do at the same step, if one has been asked to."""
        return requested if self.alone else step % _ASK_EVERY == 0 and self.any(requested)


@contextmanager
def workers(device: str, run: Path) -> Iterator[Workers]:
    """Join the other workers, if torchrun started this process, and train with them.

    Args:
        device: "auto", "cpu", "cuda" or "mps"; with "cuda" each worker takes a GPU of its own.
        run: the run's folder, for the message of a lost worker.

    Raises:
        UsageError: no such device name, or one that cannot be shared.
        DeviceError: the device is not available, or there are fewer GPUs than workers.
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
    own = torch_device(device)
    if own.type == "mps":
        if device != "auto":
            raise UsageError("device 'mps' trains in one process: start it without torchrun")
        own = torch.device("cpu")
    if own.type == "cuda":
        own = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        if own.index >= (gpus := torch.cuda.device_count()):
            raise DeviceError(f"worker {rank} needs GPU {own.index}; torch sees {gpus}")
        torch.cuda.set_device(own)
    backend = "cpu:gloo,cuda:nccl" if own.type == "cuda" else "gloo"
    with contextlib.ExitStack() as stack:
        if rank:  # all workers would print the same lines as worker 0
            silence = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stderr(silence))
        try:
            store, _, _ = next(rendezvous("env://", timeout=TIMEOUT))
            # torchrun keeps its store over a restart: the addresses in it are of dead workers
            store = PrefixStore(os.environ["TORCHELASTIC_RESTART_COUNT"], store)
            dist.init_process_group(
                backend, store=store, rank=rank, world_size=count, timeout=TIMEOUT
            )
            yield Workers(own, rank, count, alone=False)
            dist.destroy_process_group()
        except RuntimeError as error:
            reason = re.sub(r"\[\S+:\d+\] |(\. |\n).*", "", str(error).strip(), flags=re.S)
            lost = isinstance(error, dist.DistError) or any(
                word in reason.lower() for word in _GONE
            )
            if not lost:
                raise
            raise LostWorker(
                f"worker {rank} of {count}: another worker is lost ({reason}); resume with: "
                f"zoo train --resume {run}, or start with torchrun --max-restarts"
            ) from error


@contextmanager
def one_voice() -> Iterator[None]:
    """Have worker 0 alone print an error that all workers meet; the others end here, silently.

    They do not wait for the interpreter's own end: gloo's threads outlive their group, and one that
    frees a tensor while the interpreter ends would abort the process.
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
            time.sleep(_GRACE)  # an error of this worker alone is printed after it
        raise
