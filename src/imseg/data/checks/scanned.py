"""What checks look at, and what they return."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from imseg.data.checks.recodes import Recode
from imseg.data.folder.config import FolderConfig, TaskWord
from imseg.data.folder.facts import Survey
from imseg.data.folder.folder_layout import Layout
from imseg.errors import Finding
from imseg.types import Coding, Reading, TargetSpec

Mending = Literal["unreadable", "sizes", "values", "copies"]
"""What a program does about a finding; see ``MENDERS`` in ``repair``."""

ANY_CODING: tuple[Coding, ...] = get_args(Coding)


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderScan:
    """What one look at every file of a data folder, or at arrays, gave."""

    layout: Layout
    """The files or arrays, by split."""
    config: FolderConfig
    """``imseg.toml``; the defaults if it is missing or wrong."""
    task: TaskWord | None
    """The task that the caller or ``imseg.toml`` asks for; None: recognized from the masks."""
    survey: Survey
    """The facts about everything that can be read."""
    spec: TargetSpec | None
    """What masks mean; None if that could not be found out."""
    reading: Reading | None
    """How pictures become bytes; None if they are too different."""
    failures: tuple[Finding, ...]
    """Errors: what could not be read or understood."""

    @property
    def redundant(self) -> frozenset[str]:
        """Names of unlabeled pictures that are also labeled or in val; they are left out."""
        known = {facts.digest for facts in (*self.survey.labeled, *self.survey.val)}
        return frozenset(facts.name for facts in self.survey.unlabeled if facts.digest in known)


class Check(NamedTuple):
    """One thing to look for in data whose files were all looked at."""

    find: Callable[..., Iterable[Finding]]
    """Yields the findings about a scan; with ``codings`` it is called with the spec, too."""
    codings: tuple[Coding, ...] = ()
    """The codings of masks for which to look; empty: always, even if there is no spec."""
    mends: Mending | None = None
    """What a program can do about its findings; None: a person must."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskValueFinding(Finding):
    """A finding about the values of masks."""

    recode: Recode | None = None
    """What mends the values of each of the files; None: a person must."""
    reason: str = ""
    """Why, for the list of repairs."""


def run_checks(checks: Iterable[Check], found: FolderScan) -> Iterator[Finding]:
    """Yield all findings, in the order of the checks."""
    for check in checks:
        if not check.codings:
            yield from check.find(found)
        elif found.spec is not None and found.spec.coding in check.codings:
            yield from check.find(found, found.spec)


def error(
    what: str, *, expected: str = "", got: str = "", hint: str = "", files: Iterable[str] = ()
) -> Finding:
    """Return a finding without which nothing can be trained."""
    return Finding(
        severity="error", what=what, expected=expected, got=got, hint=hint, files=tuple(files)
    )


def warning(what: str, *, got: str = "", hint: str = "", files: Iterable[str] = ()) -> Finding:
    """Return a finding that is worth knowing."""
    return Finding(severity="warning", what=what, got=got, hint=hint, files=tuple(files))
