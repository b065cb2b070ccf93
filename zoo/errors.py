"""The errors a user can meet: one message each, and the exit code the command line ends with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

_IN_EXTRA = {
    "train": {"torch", "torchvision", "onnx", "onnxscript", "safetensors", "matplotlib"},
    "parquet": {"pyarrow"},
    "tensorboard": {"tensorboard"},
    "openvino": {"openvino"},
    "grpc": {"grpc", "google", "grpc_health"},
    "hub": {"huggingface_hub"},
    "ray": {"ray", "pyarrow", "fsspec"},
}


class ZooError(Exception):
    """Something failed. The message says what was given and what was expected."""

    exit_code = 1


class UsageError(ZooError):
    """An unknown name or an option that cannot be: nothing was started."""

    exit_code = 2


class DataError(ZooError):
    """An input (image, table, IDX file, ...) that cannot be used, and why."""


class DeviceError(ZooError):
    """The device asked for is not there."""

    exit_code = 4


class VerificationError(ZooError):
    """A bundle is not what its card says."""

    exit_code = 5


class Interrupted(ZooError):
    """Ctrl-C or SIGTERM; what was done is kept."""

    exit_code = 130


def first_line(error: BaseException) -> str:
    """Return the first line of another library's error, or its type where it has no text."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def last_line(error: BaseException) -> str:
    """Return the last line of another library's error: where torch has its reason."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1].strip()


def nearest(given: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest known name, or ""."""
    import difflib

    found = difflib.get_close_matches(given.lower(), list(known), n=1, cutoff=0.5)
    return f" Did you mean {found[0]!r}?" if found else ""


def unknown(kind: str, given: str, known: Iterable[str]) -> UsageError:
    """Build the error for a name that is not among the known ones."""
    known = list(known)
    return UsageError(f"unknown {kind} {given!r}.{nearest(given, known)} Known: {', '.join(known)}")


@contextmanager
def needs_extra(extra: str, doing: str) -> Iterator[None]:
    """Turn a missing package into the line that installs it.

    Raises:
        ZooError: a package of the extra is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in {"zoo", "serve", "cli"}:
            raise
        install = f"'torch-tutorial-zoo[{extra}]'" if package in _IN_EXTRA[extra] else package
        raise ZooError(
            f"{doing} needs the package {package!r}, which is not installed: pip install {install}"
        ) from error
