"""What is in a data folder, and everything that is wrong with it or worth knowing."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imseg.data.checks.cautions import CAUTIONS
from imseg.data.checks.duplicates import find_near_duplicates
from imseg.data.checks.fitness import FITNESS
from imseg.data.checks.mask_values import find_odd_values
from imseg.data.checks.scanned import Check, FolderScan, run_checks
from imseg.data.checks.unlike import find_odd_pictures
from imseg.data.folder import facts
from imseg.data.folder.config import TaskWord
from imseg.data.folder.scan import scan
from imseg.data.masks.recognize import word_of
from imseg.errors import Finding
from imseg.types import LabeledImage, Reading, TargetSpec

CHECKS: tuple[Check, ...] = (
    Check(find_odd_values, mends="values"),
    Check(lambda found: find_near_duplicates(found.survey)),
    Check(lambda found: find_odd_pictures(found.survey)),
    Check(lambda found: found.failures, mends="unreadable"),
    *FITNESS,
    *CAUTIONS,
)
"""Everything that is looked for, in the order in which it is told within each severity."""

_SEVERITIES = ("error", "warning", "note")
_PARTS = tuple(part.name for part in dataclasses.fields(Finding))


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What a look at a data folder found."""

    folder: str
    """The folder, as it was named."""
    counts: Mapping[str, int]
    """Pictures by split (pairs where the split has masks), unreadable ones included."""
    channels: Mapping[str, int]
    """Readable pictures that are ``gray`` and ``color``, and, say, ``5 channels``."""
    depths: Mapping[str, int]
    """Readable pictures by the type of their pixels: uint8, uint16, float32."""
    sizes: facts.SizeSummary | None
    """How large the readable pictures are; None if there is none."""
    reading: Reading | None
    """How pictures become bytes; None if they are too different."""
    spec: TargetSpec | None
    """What masks mean; None if that could not be found out."""
    task: TaskWord | None
    """The user's word for the task; None where ``spec`` is."""
    asked: bool
    """Whether the user named the task; otherwise it was recognized."""
    classes: tuple[facts.ClassSummary, ...]
    """The classes of the labeled masks, in the order of their values, or the labels."""
    objects: facts.ObjectSummary | None
    """The objects in the labeled masks (task instances)."""
    numbers: facts.NumberSummary | None
    """The numbers in the labeled masks (task regression)."""
    findings: tuple[Finding, ...]
    """Errors first, then warnings, then notes."""
    labeled: tuple[LabeledImage, ...] = dataclasses.field(default=(), repr=False)
    """The labeled pairs that can be read and drawn, for a contact sheet."""

    def of_severity(self, severity: str) -> tuple[Finding, ...]:
        """Return the findings of one severity."""
        return tuple(finding for finding in self.findings if finding.severity == severity)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What must be mended before training."""
        return self.of_severity("error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What is worth mending."""
        return self.of_severity("warning")

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; the pairs of the contact sheet are left out."""
        plain = dataclasses.asdict(dataclasses.replace(self, labeled=(), findings=(), spec=None))
        del plain["labeled"], plain["spec"]
        return {
            **plain,
            "ok": not self.errors,
            "reading": self.reading.as_dict() if self.reading else None,
            "target": self.spec.as_dict() if self.spec else None,
            "findings": [
                {part: getattr(finding, part) for part in _PARTS} for finding in self.findings
            ],
        }


def check_folder(
    path: str | Path, *, task: TaskWord | None = None, progress: facts.Progress | None = None
) -> CheckReport:
    """Decode every file of a data folder once and report; problems are listed, never raised.

    Args:
        path: The data folder.
        task: What the masks are; None: what ``imseg.toml`` says, or recognized from them.
        progress: Called with (done, total) after each picture.
    """
    return report_of(scan(path, task=task, progress=progress))


def report_of(found: FolderScan) -> CheckReport:
    """Return the report about a folder that was looked at."""
    layout, survey, spec = found.layout, found.survey, found.spec
    every = survey.every()
    # Planes of different sizes cannot be laid upon one another.
    drawable = {f.name for f in survey.labeled if len({mask.size for mask in f.masks}) < 2}
    channels = Counter(_channels_in_words(each) for each in every)
    return CheckReport(
        folder=str(layout.root),
        counts={split: len(getattr(layout, split)) for split in survey.splits()},
        channels={"gray": 0, "color": 0, **channels},
        depths=dict(Counter(each.depth for each in every)),
        sizes=facts.summarize_sizes(every),
        reading=found.reading,
        spec=spec,
        task=word_of(spec) if spec else None,
        asked=found.task is not None,
        classes=facts.summarize_classes(survey.labeled, spec) if spec else (),
        objects=facts.summarize_objects(survey.labeled, spec) if spec else None,
        numbers=facts.summarize_numbers(survey.labeled, spec) if spec else None,
        findings=tuple(
            sorted(run_checks(CHECKS, found), key=lambda each: _SEVERITIES.index(each.severity))
        ),
        labeled=tuple(pair for pair in layout.labeled if pair.name in drawable),
    )


def _channels_in_words(picture: facts.ImageFacts) -> str:
    return {1: "gray", 3: "color"}.get(picture.channels, f"{picture.channels} channels")
