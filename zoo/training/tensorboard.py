"""TensorBoard: the figures of a training as scalars, for `tensorboard --logdir runs`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from zoo.bundle.run import EpochLog
from zoo.errors import needs_extra
from zoo.training.checkpoint import Progress

EpochWriter = Callable[[EpochLog], None]


@contextmanager
def epoch_writer(folder: Path | None, progress: Progress) -> Iterator[EpochWriter]:
    """Yield a function that writes an epoch's figures; without a folder it writes nothing.

    Args:
        folder: where the event files go; a resumed training adds one more file.
        progress: where the training stands; its recipe is written as text.

    Raises:
        ZooError: TensorBoard is not installed.
    """
    if folder is None:
        yield lambda epoch: None
        return
    with needs_extra("tensorboard", "--tensorboard"):
        from torch.utils.tensorboard import SummaryWriter
    # After a kill, epochs since the checkpoint are trained again: their first figures are purged.
    writer = SummaryWriter(str(folder), purge_step=len(progress.history) + 1)
    recipe = msgspec.structs.asdict(progress.recipe)
    rows = "\n".join(f"| {name} | {value} |" for name, value in recipe.items())
    writer.add_text("recipe", f"| {progress.model} | |\n|---|---|\n{rows}")

    def write(epoch: EpochLog) -> None:
        scalars = {"loss": epoch.loss, "lr": epoch.lr, "images_per_second": epoch.images_per_second}
        scalars |= {f"validation/{name}": value for name, value in epoch.validation.items()}
        for name, value in scalars.items():
            writer.add_scalar(name, value, epoch.epoch)
        writer.flush()

    try:
        yield write
    finally:
        writer.close()
