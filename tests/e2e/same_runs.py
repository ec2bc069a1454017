"""Whether two runs are the same but for the time they took."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

from tests.e2e.small_sets import weights_of

SAID_ONCE = ("log.jsonl", "provenance.json", "report.html")
"""Files that tell of one start of a command."""


def untimed(content: Any) -> Any:
    """Return plain values without what may differ between equal runs."""
    if isinstance(content, dict):
        left = ("seconds", "clock", "checksum")
        return {
            name: untimed(value)
            for name, value in content.items()
            if not any(word in name for word in left)
        }
    return [untimed(value) for value in content] if isinstance(content, list) else content


def facts_in(run: Path) -> Any:
    """Return what ``facts.json`` says about files, without their times.

    Times of files that were written shortly before they were read are not trusted and not kept, so
    they depend on when a command was started.
    """
    packed = json.loads((run / "facts.json").read_text())["files"]
    known = json.loads(zlib.decompress(base64.b85decode(packed)))
    return [
        known["decoding"],
        *(
            {
                looked_for: [(fingerprint[1], facts) for fingerprint, facts in entries]
                for looked_for, entries in known[kind].items()
            }
            for kind in ("images", "masks")
        ),
    ]


def files_of(run: Path) -> list[str]:
    """Return the names of all files of a run, hidden ones too."""
    return sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())


def check_same(one: Path, other: Path) -> None:
    """Check that two finished runs hold the same files with the same content, to the bit."""
    assert files_of(one) == files_of(other)
    ours, theirs = weights_of(one), weights_of(other)
    assert [name for name in ours if ours[name] != theirs[name]] == []
    for name in files_of(one):
        if name.endswith((".json", "DONE")) and name not in SAID_ONCE:
            first, second = (json.loads((run / name).read_text()) for run in (one, other))
            if name == "facts.json":
                first, second = facts_in(one), facts_in(other)
            assert untimed(first) == untimed(second), name
    assert (one / "experiment.toml").read_bytes() == (other / "experiment.toml").read_bytes()
