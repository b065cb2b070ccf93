"""The errors that a user can see: each has a one-line message and the exit code of the command.

ZooError (1)
    UsageError (2)          DataError (1)       DeviceError (4)
    VerificationError (5)   Interrupted (130)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

_IN_EXTRA = {
    "train": set("torch torchvision onnx onnx_ir onnxscript safetensors matplotlib".split()),
    "parquet": {"pyarrow"},
    "heic": {"pillow_heif"},
    "tensorboard": {"tensorboard"},
    "openvino": {"openvino"},
    "grpc": {"grpc", "google", "grpc_health"},
    "hub": {"huggingface_hub"},
    "ray": {"ray", "pyarrow", "fsspec"},
}


#: Characters of a name in a list of names.
_WIDEST = 60


class ZooError(Exception):
    """Something failed. The message names the input and what was expected."""

    exit_code = 1


class UsageError(ZooError):
    """An unknown name or an invalid option: nothing was started."""

    exit_code = 2


class DataError(ZooError):
    """An input (image, table, IDX file, ...) cannot be used; the message has the reason."""


class DeviceError(ZooError):
    """The requested device is not available."""

    exit_code = 4


class VerificationError(ZooError):
    """A bundle, an export or a measurement does not match what was recorded or expected."""

    exit_code = 5


class Interrupted(ZooError):
    """Ctrl-C or SIGTERM; finished work is kept."""

    exit_code = 130


def first_line(error: BaseException) -> str:
    """Return the first line of another library's error message, or its type if it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def last_line(error: BaseException) -> str:
    """Return the last line of another library's error message: torch gives the reason there."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1].strip()


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the choice most like a name, or ""."""
    import difflib

    matches = difflib.get_close_matches(name.lower(), list(choices), n=1, cutoff=0.5)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def listed(names: Iterable[str], most: int = 5) -> str:
    """Return names in a line, the first few of many: "a, b, c and 27 more"."""
    names = [" ".join(name.split())[:_WIDEST] for name in names]  # a header can hold anything
    if len(names) <= most + 1:
        return ", ".join(names) or "none"
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def unknown(kind: str, name: str, choices: Iterable[str]) -> UsageError:
    """Build the error for a name that is not one of the choices."""
    choices = list(choices)
    hint = nearest(name, choices)
    return UsageError(f"unknown {kind} {name!r}.{hint} Known: {', '.join(choices)}")


@contextmanager
def needs_extra(extra: str, doing: str) -> Iterator[None]:
    """Turn a missing package into an error with the command that installs it.

    Raises:
        ZooError: a package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in {"zoo", "serve", "cli"}:
            raise
        from zoo import install

        known = package in _IN_EXTRA[extra]
        line = install.command(extra) if known else f"{install.installer()} {package}"
        raise ZooError(
            f"{doing} needs the package {package!r}, which is not installed: {line}"
        ) from error
