"""What a preparation leaves behind beside the pictures: settings, the record of the splits, counts.

``imseg.toml`` says what the masks mean; ``splits.json`` says which picture went where and why.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imseg.types import Color

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

ClassNames = Mapping[int, tuple[str, Color]] | Mapping[str, tuple[str, Color]]
"""Name and color of each mask value or label."""

SPLITS = ("labeled", "unlabeled", "val", "test")
"""The splits of a data folder, in the order in which they are written and counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedCounts:
    """What a prepared data folder holds, in images."""

    source: str
    """What it was made from, for example ``ISIC 2017``."""
    labeled: int
    """Images with a mask to learn from."""
    unlabeled: int
    """Images whose masks are in ``hidden/masks``."""
    val: int
    """Images to choose by."""
    test: int
    """Images for the final score."""
    figures: Mapping[str, int] = field(default_factory=dict)
    """Whatever else was counted, such as ``impure_pixels``."""
    notes: tuple[str, ...] = ()
    """What is worth knowing about this preparation, in sentences."""


def write_config(
    folder: Path, *, task: str, classes: ClassNames | None = None, void: int | None = None
) -> None:
    """Write ``imseg.toml``.

    Args:
        folder: The data folder.
        task: What a pixel is, in the words of ``imseg.toml``.
        classes: Names and colors; None: there is nothing to name.
        void: The mask value of pixels that do not count.
    """
    lines = [f'task = "{task}"']
    if void is not None:
        lines.append(f"void = {void}")
    if classes:
        lines += ["", "[classes]"]
        for value, (name, (red, green, blue)) in classes.items():
            color = f"#{red:02x}{green:02x}{blue:02x}"
            lines.append(f'{value} = {{ name = "{name}", color = "{color}" }}')
    (folder / "imseg.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_summary(
    folder: Path,
    *,
    source: str,
    options: Mapping[str, Any],
    splits: Mapping[str, Sequence[str]],
    details: Mapping[str, Any] | None = None,
    figures: Mapping[str, int] | None = None,
    notes: Sequence[str] = (),
) -> PreparedCounts:
    """Write ``splits.json`` and return the same in short.

    Args:
        folder: The data folder.
        source: What it was made from.
        options: What the user chose; ``seed`` and ``labeled_share`` among them.
        splits: Stems of the images in each split.
        details: Whatever else tells how the images came about, such as where they were cut out.
        figures: Counts that are no images.
        notes: Sentences for the user; they are not written.
    """
    record: dict[str, Any] = {"source": source, **options}
    if figures:
        record["figures"] = dict(figures)
    record["splits"] = {split: sorted(splits[split]) for split in SPLITS}
    record |= details or {}
    text = json.dumps(record, indent=1, ensure_ascii=True) + "\n"
    (folder / "splits.json").write_bytes(text.encode())
    return PreparedCounts(
        source=source,
        **{split: len(splits[split]) for split in SPLITS},
        figures=dict(figures or {}),
        notes=tuple(notes),
    )
