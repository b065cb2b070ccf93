"""Start: whether the options of `zoo predict` fit together, and which run carries the job out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serve.batch.run import Tally
from serve.batch.run import run as run_here
from zoo.bundle.folder import Bundle
from zoo.errors import UsageError, needs_extra
from zoo.runtime.session import Session

if TYPE_CHECKING:
    from serve.batch.sheet import Sheet


def check_output(output: Path | None, *, json: bool, format: str, resume: bool) -> None:
    """Check that the rows go to one place.

    Raises:
        UsageError: to several; or `resume` without a file.
    """
    ways = {"-o": output is not None, "--json": json, "--format": format != "table"}
    if sum(ways.values()) > 1:
        chosen = " and ".join(name for name, given in ways.items() if given)
        raise UsageError(f"{chosen}: expected one of them (a file's suffix is its format)")
    if resume and output is None:
        raise UsageError("--resume continues a file: give the same -o as before")


def runner(
    bundle: Bundle,
    engine: str,
    *,
    address: str | None,
    resume: bool,
    sheet: Sheet | None,
    **settings: Any,
) -> Callable[..., Tally]:
    """Return `serve.batch.run.run` with its session, or `serve.ray.batch.run` with its cluster.

    Args:
        bundle: the model.
        engine: of `zoo.Session`, or "ray".
        address: of a Ray cluster.
        resume: whether the job is to be resumed.
        sheet: keeps the first rows, to be drawn.
        settings: other keyword arguments of `zoo.Session`.

    Raises:
        UsageError: an option of one engine is given for another.
        ZooError: Ray is not installed. And what `zoo.Session` raises.
    """
    if engine == "ray":
        if resume:
            raise UsageError("--resume is for the other engines: a Ray job outlives its workers")
        with needs_extra("ray", "--engine ray"):
            from serve.ray.batch import run as run_on_ray
        return partial(run_on_ray, bundle, address=address, **settings)
    if address is not None:
        raise UsageError("--address is that of a Ray cluster: give --engine ray too")
    # Threads that do not spin: the cores decode images meanwhile.
    return partial(run_here, Session(bundle, engine=engine, spin=False, **settings), sheet=sheet)
