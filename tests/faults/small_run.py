"""The run that faults are tried on: small, with mask scorers, audits, copies and checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.e2e.small_sets import small_set, train, write_hidden

from imseg.approaches.runs.run import Run
from imseg.engine.training import checkpoint

OPTIONS = {"generations": 2, "select": "all", "epochs": 4, "max_steps": 4, "patience": 0}


def small_run(place: Path, out: Path) -> Run:
    """Train aim++ with an audit in this process, or continue it; every pass is a checkpoint.

    Args:
        place: A folder of its own, for hidden masks.
        out: The run.
    """
    checkpoint.SHARE = 1e9
    hidden = place / "hidden"
    if not hidden.exists():
        made = write_hidden(place / "hidden.part", "binary")
        made.rename(hidden)
    return train(small_set("binary"), "aim++", out, unlabeled_masks=hidden, **OPTIONS)


def fresh(folder: Path) -> Path:
    """Return a folder that is not there."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder
