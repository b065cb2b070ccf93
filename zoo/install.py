"""How this zoo was installed, and so the command that adds an extra to it."""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import msgspec

NAME = "torch-tutorial-zoo"


def command(extra: str = "") -> str:
    """Return the command that installs this zoo again where it is, with an extra.

    A clone or a folder is installed from itself, a wheel from its file, and anything else from the
    package index; by pip, or by uv in an environment without pip, as `make` makes it.
    """
    suffix = f"[{extra}]" if extra else ""
    folder, editable = _folder()
    if folder is None:
        return f"{installer()} {_quoted(NAME + suffix)}"
    if not folder.is_dir():
        return f"{installer()} {_quoted(f'{NAME}{suffix} @ {folder.as_uri()}')}"
    option = "-e " if editable else ""
    return f"{installer(folder)} {option}{_quoted(f'{_shortest(folder)}{suffix}')}"


def installer(clone: Path | None = None) -> str:
    """Return "pip install", or what stands for it in this environment.

    Args:
        clone: the folder of the sources, which may have a uv of its own.
    """
    python = _quoted(_shortest(Path(sys.executable)))
    if importlib.util.find_spec("pip") is not None:
        return "pip install" if os.environ.get("VIRTUAL_ENV") else f"{python} -m pip install"
    own = clone / ".uv" / "bin" / "uv" if clone else None
    uv = _quoted(_shortest(own)) if own and own.exists() else "uv"
    return f"{uv} pip install --python {python}"


def repair() -> str:
    """Return the command that installs ONNX Runtime again, in the version that is there."""
    for package in ("onnxruntime-gpu", "onnxruntime"):
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
        return f"{installer()} --force-reinstall --no-deps {package}=={version}"
    return command()


def _folder() -> tuple[Path | None, bool]:
    """Return the folder or file that the zoo was installed from, and whether it runs there."""
    sources = Path(__file__).parent.parent
    if (sources / "pyproject.toml").exists():
        return sources, True
    try:
        text = metadata.distribution(NAME).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return None, False
    url = urlsplit(str(msgspec.json.decode(text)["url"])) if text else urlsplit("")
    return (Path(url2pathname(unquote(url.path))), False) if url.scheme == "file" else (None, False)


def _shortest(path: Path) -> str:
    """Return a path relative to the current folder where it is below that."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _quoted(text: str) -> str:
    if os.name == "nt":  # PowerShell and cmd both take double quotes
        return f'"{text}"' if any(letter in text for letter in " []") else text
    return shlex.quote(text)
