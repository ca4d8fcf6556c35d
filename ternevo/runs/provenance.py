"""The provenance of results: versions, device, machine and commit, as JSON values.

It does not identify the user or the host: it has no paths and no host name.
"""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from ternevo.machine import startup

PACKAGES = (
    *("ternevo", "jax", "jaxlib", "flax", "optax", "evosax", "flashbax", "numpy"),
    *("gymnax", "brax", "mujoco", "mujoco-mjx", "playground", "gymnasium", "box2d", "pygame"),
    *("ale-py", "opencv-python-headless", "envpool", "scikit-learn"),
)
"""The distributions that results may depend on. CarRacing observes what pygame draws."""


def describe() -> dict[str, Any]:
    """Return "versions", "device", "machine" and "commit"; this starts JAX."""
    return {
        "versions": {"python": platform.python_version(), **_versions()},
        "device": _device(),
        "machine": {
            "system": platform.platform(),
            "processor": _processor(),
            "cores": startup.num_cores(),
            "memory_bytes": memory_bytes(),
        },
        "commit": _commit(),
    }


def memory_bytes() -> int | None:
    """Return the memory of this machine, or None if the system does not report it."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _device() -> dict[str, Any]:
    import jax

    device = jax.devices()[0]
    return {
        "kind": device.device_kind,
        "platform": device.platform,
        "count": jax.device_count(),
    }


def _versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def _processor() -> str:
    """Return the processor's name, which Linux reports only in /proc."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def _commit() -> str | None:
    """Return the commit of the source tree, "+changes" if it was edited since, None outside git."""
    here = Path(__file__).parent
    try:
        commit = _git(here, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(here, "status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
