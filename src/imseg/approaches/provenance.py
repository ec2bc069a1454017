"""Where a run comes from: versions, machine, settings, data and the state of the code."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from imseg import __version__
from imseg.engine.device import usable_cores
from imseg.types import DataSet

PACKAGES = ("torch", "numpy", "pillow", "safetensors")


def provenance_of(dataset: DataSet, experiment: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``provenance.json`` holds.

    Args:
        dataset: What is learned from.
        experiment: The content of ``experiment.toml``, of which this is the second copy.
    """
    return {
        "command": sys.argv,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        **surroundings(),
        "data": {
            "name": dataset.name,
            "labeled": [pair.name for pair in dataset.labeled],
            "validation": [pair.name for pair in dataset.val],
            "unlabeled": len(dataset.unlabeled),
        },
        "experiment": dict(experiment),
    }


def surroundings() -> dict[str, Any]:
    """Return versions and machine: what the same training may depend on."""
    return {
        "versions": {"imseg": __version__, **{name: metadata.version(name) for name in PACKAGES}},
        "git": git_state(Path(__file__).parent),
        "python": platform.python_version(),
        "machine": platform.platform(),
        "cores": usable_cores(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def command_in(content: Mapping[str, Any]) -> str | None:
    """Return the command that began a run, to be copied; None if it was begun otherwise.

    Args:
        content: Of ``provenance.json``.
    """
    words = [str(word) for word in content.get("command", ())]
    if not words:
        return None
    place = Path(words[0])
    if place.stem == "imseg" or place.parts[-3:] == ("imseg", "cli", "main.py"):
        return shlex.join(["imseg", *words[1:]])
    return shlex.join(["python", *words]) if place.suffix == ".py" else None


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return the commit of a checkout and whether files differ from it; None outside of one.

    Args:
        folder: A folder of the checkout.
    """

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(folder), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    # An environment may lie in a repository of somebody else, which does not track what is in it.
    tracked = git("ls-files", "--", ".")
    commit = git("rev-parse", "HEAD")
    if not tracked or not commit:
        return None
    return {"commit": commit, "changed": bool(git("status", "--porcelain", "--", "."))}
