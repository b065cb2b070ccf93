"""This machine: its processor, cores and package versions, as a card records them."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

from zoo.version import __version__


def processor() -> str:
    """Return the processor's name and how many cores this process may use."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass  # not Linux: the platform module's name it is
    return f"{name}, {cores()} cores"


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory() -> int | None:
    """Return how many bytes of memory are free, within a container's limit; None if unknown."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        (free,) = (int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, ValueError):
        return None
    group = Path("/sys/fs/cgroup")  # version 2, as a container sees its own
    try:
        limit, used = ((group / name).read_text() for name in ("memory.max", "memory.current"))
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        # files that were read are kept in memory as long as nobody needs it
        return min(free, int(limit) - int(used) + int(stat["inactive_file"]))
    except (OSError, ValueError, KeyError):  # no such group, or "max"
        return free


def version(package: str) -> str | None:
    """Return a package's installed version, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of the zoo, of Python, and of those packages that are installed."""
    installed = {name: version(name) for name in packages}
    base = {"zoo": __version__, "python": platform.python_version()}
    return base | {name: value for name, value in installed.items() if value}
