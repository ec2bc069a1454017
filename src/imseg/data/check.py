"""What is in a data folder, and everything that is wrong with it or worth knowing."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imseg.data.cautions import class_shares, find_cautions
from imseg.data.facts import Facts, Progress, Survey
from imseg.data.folder import FolderScan, scan
from imseg.errors import Finding
from imseg.types import Kind, LabeledImage, TargetSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeSummary:
    """How large the pictures are, in pixels."""

    smallest: tuple[int, int]
    """Least height and least width."""
    median: tuple[int, int]
    """Median height and median width (the lower middle)."""
    largest: tuple[int, int]
    """Greatest height and greatest width."""
    all_equal: bool
    """Whether all pictures have one size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassSummary:
    """How much of a class the labeled masks show."""

    value: int
    """The value in mask files."""
    name: str
    """The name of the class."""
    color: tuple[int, int, int]
    """Red, green, blue; 0..255."""
    share: float
    """Share of the pixels that are not void, 0..1, over all labeled masks."""
    images: int
    """Labeled images on which the class occurs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What a look at a data folder found."""

    folder: str
    """The folder, as it was named."""
    counts: Mapping[str, int]
    """Pictures by split (pairs where the split has masks), unreadable ones included."""
    channels: Mapping[str, int]
    """Readable pictures that are ``gray`` and ``color``."""
    sizes: SizeSummary | None
    """How large the readable pictures are; None if there is none."""
    spec: TargetSpec | None
    """What mask values mean; None if that could not be found out."""
    classes: tuple[ClassSummary, ...]
    """The classes of the labeled masks, in the order of their values."""
    findings: tuple[Finding, ...]
    """Errors first, then warnings."""
    labeled: tuple[LabeledImage, ...] = dataclasses.field(default=(), repr=False)
    """The labeled pairs that can be read, for a contact sheet."""

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What must be mended before training."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What is worth knowing."""
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; the pairs of the contact sheet are left out."""
        return {
            "folder": self.folder,
            "ok": not self.errors,
            "counts": dict(self.counts),
            "channels": dict(self.channels),
            "sizes": dataclasses.asdict(self.sizes) if self.sizes else None,
            "target": self.spec.as_dict() if self.spec else None,
            "classes": [dataclasses.asdict(each) for each in self.classes],
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
        }


def check_folder(
    path: str | Path, *, task: Kind | None = None, progress: Progress | None = None
) -> CheckReport:
    """Decode every file of a data folder once and report; problems are listed, never raised.

    Args:
        path: The data folder.
        task: What a pixel is; None: what ``imseg.toml`` says, or recognized from the masks.
        progress: Called with (done, total) after each picture.
    """
    return report_of(scan(path, task=task, progress=progress))


def report_of(found: FolderScan) -> CheckReport:
    """Return the report about a folder that was looked at."""
    layout, survey = found.layout, found.survey
    every = list(itertools.chain.from_iterable(survey.splits().values()))
    gray = sum(facts.channels == 1 for facts in every)
    readable = {facts.name for facts in survey.labeled}
    return CheckReport(
        folder=str(layout.root),
        counts={
            "labeled": len(layout.labeled),
            "unlabeled": len(layout.unlabeled),
            "val": len(layout.val),
            "test": len(layout.test),
        },
        channels={"gray": gray, "color": len(every) - gray},
        sizes=_summarize_sizes(every),
        spec=found.spec,
        classes=_summarize_classes(survey, found.spec) if found.spec else (),
        findings=(*found.errors, *find_cautions(found)),
        labeled=tuple(pair for pair in layout.labeled if pair.name in readable),
    )


def _summarize_sizes(every: list[Facts]) -> SizeSummary | None:
    if not every:
        return None
    heights = sorted(facts.size[0] for facts in every)
    widths = sorted(facts.size[1] for facts in every)
    middle = (len(every) - 1) // 2
    return SizeSummary(
        smallest=(heights[0], widths[0]),
        median=(heights[middle], widths[middle]),
        largest=(heights[-1], widths[-1]),
        all_equal=len({facts.size for facts in every}) == 1,
    )


def _summarize_classes(survey: Survey, spec: TargetSpec) -> tuple[ClassSummary, ...]:
    shares = class_shares(survey.label_counts(), spec)
    masks = [facts.mask.counts for facts in survey.labeled if facts.mask is not None]
    return tuple(
        ClassSummary(
            value=value,
            name=name,
            color=color,
            share=shares[value],
            images=sum(value in counts for counts in masks),
        )
        for value, name, color in zip(spec.values, spec.names, spec.colors, strict=True)
    )
