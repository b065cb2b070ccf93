"""Devices: what `--device auto|cpu|cuda|mps` means for torch. Asked for is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.errors import DeviceError, unknown

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")


def torch_device(name: str) -> torch.device:
    """Return the torch device for a name; "auto" takes cuda, then mps, then cpu.

    Raises:
        UsageError: no such name. DeviceError: torch does not see that device.
    """
    import torch

    if name not in DEVICES:
        raise unknown("device", name, DEVICES)
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, found in there.items() if found)
    if not there[name]:
        built = f"torch {torch.__version__} sees no such device"
        raise DeviceError(f"device {name!r} is not available: {built}")
    return torch.device(name)
