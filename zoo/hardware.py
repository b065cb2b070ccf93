"""This machine: its processor, cores and package versions, as a card records them."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import time
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
    return f"{name}, {cores()} core{'s' if cores() > 1 else ''}"


def cores() -> int:
    """Return how many cores this process may use: by its affinity, and by its container's quota."""
    return min(affinity(), math.ceil(quota()) or affinity())


def thread_limit() -> int:
    """Return how many threads a quota allows, for libraries that know nothing of it; 0: all."""
    return cores() if cores() < affinity() else 0


def affinity() -> int:
    """Return on how many cores this process may run, whatever its quota of their time is."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def quota(groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float:
    """Return how many cores' time a container or a service (cgroup) may use; 0.0: no limit.

    Threads beyond it only wait for each other: when the quota of a tenth of a second is used up,
    all of them stand still until it is over.

    Args:
        groups: where the control groups are mounted, of version 2 or 1.
        own: the list of this process's groups.
    """
    try:
        lines = [line.split(":", 2) for line in own.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return 0.0  # not Linux
    limits = []
    for _, controllers, path in (line for line in lines if len(line) == 3):
        names = controllers.split(",")
        if controllers and "cpu" not in names:
            continue
        root = groups / "cpu" if controllers else groups
        # The limits of all groups above hold, too. In a container its own group is the root.
        inner = root / path.strip("/")
        for folder in (inner, *inner.parents):
            if folder.is_relative_to(root):
                limits.append(_limit(folder))
    return min((limit for limit in limits if limit > 0), default=0.0)


def _limit(group: Path) -> float:
    """Return a control group's own limit, in cores; 0.0: none."""
    try:
        if (group / "cpu.max").exists():
            time, period = (group / "cpu.max").read_text().split()
        else:
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            time, period = ((group / name).read_text() for name in names)
        return max(0.0, int(time) / int(period))  # version 1 has -1 for no limit
    except (OSError, ValueError, ZeroDivisionError):  # no such group, or "max"
        return 0.0


class Activity:
    """How busy other programs keep this process's cores, from its making on (Linux)."""

    #: Seconds that a measurement takes at least: the system counts in hundredths.
    _SHORTEST = 0.2

    def __init__(self) -> None:
        self._began, self._all, self._own = time.monotonic(), _busy(), _own()

    def free_cores(self) -> int:
        """Return how many of `cores()` other programs leave free, at least 1."""
        time.sleep(max(0.0, self._began + self._SHORTEST - time.monotonic()))
        elapsed = time.monotonic() - self._began
        others = (_busy() - self._all) - (_own() - self._own)
        return max(1, min(cores(), round(affinity() - others / elapsed)))


def _busy() -> float:
    """Return the seconds that this process's cores have worked, for anyone; 0.0 if unknown."""
    try:
        mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
        counts = [line.split() for line in lines]
        # user, nice, system, [idle, waiting for a disk,] interrupts, stolen by the machine's host
        ticks = sum(
            int(count[n]) for count in counts if count[0] in mine for n in (1, 2, 3, 6, 7, 8)
        )
        return ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, IndexError, ValueError):  # not Linux
        return 0.0


def _own() -> float:
    used = os.times()
    return used.user + used.system


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
