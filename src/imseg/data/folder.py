"""Bring your own folder: from a folder of pictures to a data set, or to all that is wrong."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imseg.data.config import FILE_NAME, FolderConfig, TaskWord, read_config
from imseg.data.facts import Facts, Progress, Survey, map_in_threads
from imseg.data.hidden import hidden_masks as hidden_masks
from imseg.data.image_io import UnreadablePicture
from imseg.data.inspection import Scope, inspect
from imseg.data.layout import Layout, find_layout
from imseg.data.listing import counted
from imseg.data.problems import as_findings, find_problems, redundant, unreadable
from imseg.data.reading import find_reading
from imseg.data.recognize import recognize
from imseg.errors import Finding, ImsegError, and_more, raise_all
from imseg.types import DataSet, Image, LabeledImage, Reading, TargetSpec

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderScan:
    """What one look at every file of a data folder gave."""

    layout: Layout
    """The files, by split."""
    config: FolderConfig
    """``imseg.toml``; the defaults if it is missing or wrong."""
    task: TaskWord | None
    """The task that the caller or ``imseg.toml`` asks for; None: recognized from the masks."""
    survey: Survey
    """The facts about every readable file."""
    spec: TargetSpec | None
    """What masks mean; None if that could not be found out."""
    reading: Reading | None
    """How pictures become bytes; None if they are too different."""
    errors: tuple[Finding, ...]
    """Everything that makes the folder unfit for training."""

    @property
    def redundant(self) -> frozenset[str]:
        """Unlabeled pictures that are also labeled or in val; they are left out."""
        return redundant(self.survey)


def scan(
    path: str | Path, *, task: TaskWord | None = None, progress: Progress | None = None
) -> FolderScan:
    """Decode every file of a data folder once and return what is there and what is wrong.

    Problems of the data are listed, never raised.

    Args:
        path: The data folder.
        task: What the masks are; None: what ``imseg.toml`` says, or recognized from them.
        progress: Called with (done, total) after each picture.
    """
    root = Path(path)
    layout = find_layout(root)
    errors = [finding for finding in layout.findings if finding.severity == "error"]
    config = FolderConfig()
    config_errors: list[Finding] = []
    try:
        config = read_config(root)
    except ImsegError as error:
        config_errors = as_findings(error, (FILE_NAME,))
    errors += config_errors
    asked = task or config.task
    survey, problems = _inspect_all(layout, config, asked, progress)
    errors += unreadable(problems)
    spec = None
    if layout.labeled:
        try:
            spec = recognize(survey, task=task, config=config)
        except ImsegError as error:
            # What is left of the masks when some cannot be read would only mislead, and so do masks
            # without what imseg.toml says about them.
            if len(survey.labeled) == len(layout.labeled) and not config_errors:
                errors += as_findings(error)
    reading, unlike = find_reading(survey, pages=config.pages)
    errors += unlike
    errors += find_problems(survey, spec, labeled=len(layout.labeled), listed=bool(config.listed))
    return FolderScan(
        layout=layout,
        config=config,
        task=asked,
        survey=survey,
        spec=spec,
        reading=reading,
        errors=tuple(errors),
    )


def read_folder(
    path: str | Path, *, task: TaskWord | None = None, progress: Progress | None = None
) -> DataSet:
    """Return the data set in a folder.

    The folder holds ``labeled/images`` and ``labeled/masks`` with equal stems (or
    ``labeled/masks/<label>``, one folder a label), and if wanted ``unlabeled``,
    ``val/{images,masks}``, ``test/{images,masks}`` and ``imseg.toml``. Every file is decoded once,
    so that nothing breaks later. Unlabeled pictures that are also labeled or in val are left out.

    Args:
        path: The data folder.
        task: What the masks are; None: what ``imseg.toml`` says, or recognized from them.
        progress: Called with (done, total) after each picture.

    Raises:
        ImsegError: If anything is wrong with the folder; everything at once.
    """
    return data_set_of(scan(path, task=task, progress=progress))


def data_set_of(found: FolderScan) -> DataSet:
    """Return the data set of a folder that was looked at.

    Raises:
        ImsegError: If the look found errors; all of them at once.
    """
    raise_all(finding.as_error() for finding in found.errors)
    if found.spec is None or found.reading is None:
        raise RuntimeError("a folder without errors has a spec and a reading")
    left_out = found.redundant
    if left_out:
        names = and_more(sorted(left_out))
        text = "left out %s that labeled or val holds too: %s"
        _log.warning(text, counted(len(left_out), "unlabeled image"), names)
    layout = found.layout
    return DataSet(
        name=str(layout.root),
        spec=found.spec,
        reading=found.reading,
        labeled=layout.labeled,
        unlabeled=tuple(image for image in layout.unlabeled if image.name not in left_out),
        val=layout.val,
        test=layout.test,
        digests=found.survey.digests(),
    )


def _inspect_all(
    layout: Layout, config: FolderConfig, asked: TaskWord | None, progress: Progress | None
) -> tuple[Survey, list[tuple[str, UnreadablePicture]]]:
    """Return the facts about every readable file, and the files that are not."""
    splits: dict[str, Sequence[Image | LabeledImage]] = {
        "labeled": layout.labeled,
        "unlabeled": layout.unlabeled,
        "val": layout.val,
        "test": layout.test,
    }
    entries = [(split, entry) for split, members in splits.items() for entry in members]
    scope = Scope(config=config, regions=asked in (None, "instances"), pictures=len(entries))
    results = map_in_threads(
        lambda entry: inspect(entry[1], layout.root, scope=scope), entries, progress=progress
    )
    facts: dict[str, list[Facts]] = {split: [] for split in splits}
    problems: list[tuple[str, UnreadablePicture]] = []
    for (split, _), result in zip(entries, results, strict=True):
        if isinstance(result, Facts):
            facts[split].append(result)
        else:
            problems += result
    return Survey(**{split: tuple(members) for split, members in facts.items()}), problems
