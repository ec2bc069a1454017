"""The list of everything that was done to a copy."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from imseg.data.sheets import sheet
from imseg.data.whole_files import write_whole

CSV, JSON = "repairs.csv", "repairs.json"
"""Names of the lists in the copy."""

Change = Literal["left out", "renamed", "rewritten"]
"""What can happen to a file on its way into the copy; most are copied byte for byte."""


@dataclass(frozen=True, slots=True)
class Repair:
    """One change."""

    file: str
    """The file, relative to the data folder; a renamed one by its new name from then on."""
    change: Change
    """What happened to it."""
    became: str
    """Its name in the copy; empty if it is not there."""
    did: str
    """What was done to its content; empty if nothing was."""
    why: str
    """The reason, in the same words for all changes of one kind."""
    about: str = ""
    """What the reason refers to: another file, or what exactly is wrong."""


def write_record(folder: Path, repairs: Sequence[Repair], *, source: str) -> None:
    """Write the list of changes into the copy, as a table and as JSON.

    Args:
        folder: The copy.
        repairs: Every change, in the order in which they were made.
        source: What was copied.
    """
    plain = [dataclasses.asdict(repair) for repair in repairs]
    record = {"source": source, "repairs": plain}
    write_whole(folder / JSON, (json.dumps(record, indent=1) + "\n").encode())
    header = [field.name for field in dataclasses.fields(Repair)]
    table = sheet(header, [list(each.values()) for each in plain])
    write_whole(folder / CSV, table.encode("utf-8", "backslashreplace"))
