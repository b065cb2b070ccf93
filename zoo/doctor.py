"""`zoo doctor`: versions, devices, which of them load, and the command that fixes each fault."""

from __future__ import annotations

import importlib
import os
import platform
from typing import Literal, NamedTuple

from zoo import hardware, install
from zoo.bundle.folder import Bundle, shipped
from zoo.errors import ZooError, first_line

Status = Literal["ok", "absent", "broken"]


class Finding(NamedTuple):
    """One check: what was examined, and the command that fixes it, or "".

    "absent" is optional and not installed; "broken" has to be fixed.
    """

    check: str
    status: Status
    detail: str
    fix: str = ""


def examine() -> list[Finding]:
    """Run all checks; they are independent, so one that fails hides none of the others."""
    system = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return [
        Finding("zoo", "ok", hardware.version("torch-tutorial-zoo") or "not installed (source)"),
        Finding("python", "ok", system),
        Finding("processor", "ok", hardware.processor() + _quota()),
        *(_package(name, "broken", install.command()) for name in ("numpy", "pillow", "typer")),
        _onnxruntime(),
        _telemetry(),
        *_providers(),
        *map(_importable, ("torch", "torchvision")),
        *(
            _package(name, "absent", install.command("train"))
            for name in ("onnx", "onnxscript", "safetensors", "matplotlib")
        ),
        _bundles(),
    ]


def _quota() -> str:
    quota = hardware.quota()
    if not 0 < quota < hardware.affinity():
        return ""
    return f"; a container's quota allows {quota:g} of {hardware.affinity()}, threads follow it"


def _package(name: str, otherwise: Status, fix: str) -> Finding:
    if version := hardware.version(name):
        return Finding(name, "ok", version)
    return Finding(name, otherwise, "not installed", fix)


def _onnxruntime() -> Finding:
    """Find exactly one of the two packages: they install into the same folder."""
    cpu, gpu = hardware.version("onnxruntime"), hardware.version("onnxruntime-gpu")
    if cpu and gpu:
        remove = install.installer().replace(" install", " uninstall -y")
        return Finding(
            "onnxruntime",
            "broken",
            f"onnxruntime {cpu} and onnxruntime-gpu {gpu} are both installed, over each other",
            f"{remove} onnxruntime onnxruntime-gpu && {install.installer()} onnxruntime-gpu=={gpu}",
        )
    if not cpu and not gpu:
        return Finding("onnxruntime", "broken", "not installed", install.command())
    try:
        importlib.import_module("zoo.runtime.library")
    except ZooError as error:
        repair = install.repair()
        return Finding("onnxruntime", "broken", str(error).removesuffix(f": {repair}"), repair)
    return Finding("onnxruntime", "ok", f"onnxruntime-gpu {gpu}" if gpu else f"onnxruntime {cpu}")


def _telemetry() -> Finding:
    """Say whether ONNX Runtime may send events to its makers; `zoo.runtime` turns that off."""
    import zoo.runtime  # sets the variable unless the user has

    assert zoo.runtime
    value = os.environ["ORT_DISABLE_TELEMETRY"]
    state = "off" if value == "1" else "as ONNX Runtime decides"
    return Finding("telemetry", "ok", f"{state} (ORT_DISABLE_TELEMETRY={value})")


def _providers() -> list[Finding]:
    """Open a real session on each device: a provider that is listed may still not load."""
    try:
        from zoo.runtime.providers import PROVIDERS, cuda_missing
        from zoo.runtime.session import Session
    except (ImportError, ZooError):  # `_onnxruntime` says why
        return [Finding("providers", "broken", "ONNX Runtime does not load", install.repair())]
    names = shipped()
    if not names:
        return [Finding("providers", "broken", "no shipped model to try", install.command())]
    findings = []
    for device, provider in PROVIDERS.items():
        try:
            Session(names[0], device=device)
            findings.append(Finding(provider, "ok", "loads and runs"))
        except ZooError as error:
            # A GPU that is there and cannot be used is broken; no GPU is no fault.
            broken = device == "cpu" or (device == "cuda" and cuda_missing() is None)
            fix = install.command("cuda") if device == "cuda" and broken else ""
            findings.append(Finding(provider, "broken" if broken else "absent", str(error), fix))
    return findings


def _importable(name: str) -> Finding:
    """Import torch or torchvision: what is installed may still not load."""
    try:
        module = importlib.import_module(name)
    except Exception as error:  # builds that do not match raise RuntimeError or OSError
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            return Finding(name, "absent", "not installed", install.command("train"))
        fix = f"{install.installer()} --force-reinstall torch torchvision   (both from one index)"
        return Finding(name, "broken", f"cannot be imported: {first_line(error)}", fix)
    detail = str(module.__version__)
    if name == "torch":
        devices = "mps" if module.backends.mps.is_available() else "no GPU"
        if module.cuda.is_available():
            devices = module.cuda.get_device_name(0)
        detail += f", {devices}, {module.get_num_threads()} threads"
    return Finding(name, "ok", detail)


def _bundles() -> Finding:
    names = shipped()
    try:
        for name in names:
            Bundle.open(name).check()
    except ZooError as error:
        return Finding("weights", "broken", str(error), f"{install.command()} --force-reinstall")
    status: Status = "ok" if names else "broken"
    return Finding("weights", status, f"{len(names)} bundles, all hashes right")
