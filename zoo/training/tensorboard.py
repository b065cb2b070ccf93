"""TensorBoard: the figures of a training as scalars, for `tensorboard --logdir runs`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from zoo.bundle.run import EpochLog
from zoo.errors import needs_extra
from zoo.training.checkpoint import Progress

Tell = Callable[[EpochLog], None]


@contextmanager
def board(folder: Path | None, at: Progress) -> Iterator[Tell]:
    """Yield what writes an epoch's figures; None as the folder writes nothing.

    Args:
        folder: of the event files; after a resume, one more file goes on where they end.
        at: where the training stands; its recipe is written as text.

    Raises:
        ZooError: TensorBoard is not installed.
    """
    if folder is None:
        yield lambda log: None
        return
    with needs_extra("tensorboard", "--tensorboard"):
        from torch.utils.tensorboard import SummaryWriter
    # epochs that were written and are trained again after a kill are taken back
    writer = SummaryWriter(str(folder), purge_step=len(at.history) + 1)
    recipe = msgspec.structs.asdict(at.recipe)
    rows = "\n".join(f"| {name} | {value} |" for name, value in recipe.items())
    writer.add_text("recipe", f"| {at.model} | |\n|---|---|\n{rows}")

    def tell(log: EpochLog) -> None:
        named = {"loss": log.loss, "lr": log.lr, "images_per_second": log.images_per_second}
        named |= {f"validation/{name}": value for name, value in log.validation.items()}
        for name, value in named.items():
            writer.add_scalar(name, value, log.epoch)
        writer.flush()

    try:
        yield tell
    finally:
        writer.close()
