"""The doctor: versions, devices, what really loads, and the line that mends what does not."""

from __future__ import annotations

import importlib
import platform
from typing import Literal, NamedTuple

from zoo import hardware
from zoo.bundle.folder import Bundle, shipped
from zoo.errors import ZooError, first_line, needs_extra

Status = Literal["ok", "absent", "broken"]


class Finding(NamedTuple):
    """One check. "absent": optional and not there. `mend`: the line that helps, or ""."""

    check: str
    status: Status
    detail: str
    mend: str = ""


def examine() -> list[Finding]:
    """Run all checks; each is on its own, so one that breaks hides none of the others."""
    return [
        Finding("zoo", "ok", hardware.version("torch-tutorial-zoo") or "not installed (source)"),
        Finding(
            "python",
            "ok",
            f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        ),
        Finding("processor", "ok", hardware.processor()),
        *(_package(name, "") for name in ("numpy", "pillow", "typer")),
        _onnxruntime(),
        *_providers(),
        _torch(),
        _torchvision(),
        *(_package(name, "train") for name in ("onnx", "onnxscript", "safetensors", "matplotlib")),
        _bundles(),
    ]


def _install(extra: str) -> str:
    return (
        f"pip install 'torch-tutorial-zoo[{extra}]'" if extra else "pip install torch-tutorial-zoo"
    )


def _package(name: str, extra: str) -> Finding:
    if version := hardware.version(name):
        return Finding(name, "ok", version)
    return Finding(name, "absent" if extra else "broken", "not installed", _install(extra))


def _onnxruntime() -> Finding:
    cpu, gpu = hardware.version("onnxruntime"), hardware.version("onnxruntime-gpu")
    if cpu and gpu:
        return Finding(
            "onnxruntime",
            "broken",
            f"onnxruntime {cpu} and onnxruntime-gpu {gpu} are both installed, over each other",
            f"pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu=={gpu}",
        )
    if not cpu and not gpu:
        return Finding("onnxruntime", "broken", "not installed", _install(""))
    return Finding("onnxruntime", "ok", f"onnxruntime-gpu {gpu}" if gpu else f"onnxruntime {cpu}")


def _providers() -> list[Finding]:
    """Open a real session on each device: a provider that is listed may still not load."""
    try:
        from zoo.runtime.providers import PROVIDERS, cuda_missing
        from zoo.runtime.session import Session
    except ImportError as error:
        return [Finding("providers", "broken", str(error), _install(""))]
    names = shipped()
    if not names:
        return [Finding("providers", "broken", "no shipped model to try", _install(""))]
    findings = []
    for device, provider in PROVIDERS.items():
        try:
            Session(names[0], device=device)
            findings.append(Finding(provider, "ok", "loads and runs"))
        except ZooError as error:
            # A GPU that is there and cannot be used is broken; no GPU is no fault.
            broken = device == "cpu" or (device == "cuda" and cuda_missing() is None)
            mend = _install("cuda") if device == "cuda" and broken else ""
            findings.append(Finding(provider, "broken" if broken else "absent", str(error), mend))
    return findings


def _torch() -> Finding:
    try:
        with needs_extra("train", "training"):
            import torch
    except ZooError:
        return Finding("torch", "absent", "not installed", _install("train"))
    except Exception as error:
        return Finding("torch", "broken", f"cannot be imported: {error}", _install("train"))
    if torch.cuda.is_available():
        devices = torch.cuda.get_device_name(0)
    else:
        devices = "mps" if torch.backends.mps.is_available() else "no GPU"
    return Finding(
        "torch", "ok", f"{torch.__version__}, {devices}, {torch.get_num_threads()} threads"
    )


def _torchvision() -> Finding:
    try:
        module = importlib.import_module("torchvision")
    except ModuleNotFoundError as error:
        if error.name == "torchvision":
            return Finding("torchvision", "absent", "not installed", _install("train"))
        return Finding("torchvision", "broken", f"cannot be imported: {error}", _install("train"))
    except Exception as error:  # torch and torchvision of different builds: RuntimeError, OSError
        return Finding(
            "torchvision",
            "broken",
            f"cannot be imported: {first_line(error)}",
            "pip install --force-reinstall torch torchvision   (both from one index)",
        )
    return Finding("torchvision", "ok", module.__version__)


def _bundles() -> Finding:
    try:
        for name in shipped():
            Bundle.open(name).check()
    except ZooError as error:
        return Finding(
            "weights", "broken", str(error), "pip install --force-reinstall torch-tutorial-zoo"
        )
    count = len(shipped())
    return Finding("weights", "ok" if count else "broken", f"{count} bundles, all hashes right")
