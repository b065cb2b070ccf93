"""Devices: `--device auto|cpu|cuda|mps` for torch; none falls back to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.errors import DeviceError, unknown

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")


def torch_device(name: str) -> torch.device:
    """Return the torch device for a name; "auto" takes cuda, then mps, then cpu.

    Raises:
        UsageError: unknown name. DeviceError: torch does not see that device.
    """
    import torch

    if name not in DEVICES:
        raise unknown("device", name, DEVICES)
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, usable in available.items() if usable)
    if not available[name]:
        reason = f"torch {torch.__version__} sees no such device"
        raise DeviceError(f"device {name!r} is not available: {reason}")
    return torch.device(name)
