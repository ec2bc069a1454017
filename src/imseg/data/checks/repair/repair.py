"""A repaired copy of a data folder, with a list of everything that was changed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imseg.data.checks.folder_check import CheckReport, check_folder
from imseg.data.checks.repair.file_selection import Repair, write_record
from imseg.data.checks.repair.rewriting import copy_usable, merged, plan_round, rewrite_mask
from imseg.data.files.atomic import new_folder
from imseg.data.folder.config import TaskWord
from imseg.data.folder.facts import Progress
from imseg.data.folder.scan import scan
from imseg.errors import ImsegError, shown

_MOST_ROUNDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What became of a data folder."""

    folder: Path
    """The copy."""
    repairs: tuple[Repair, ...]
    """Everything that was changed, in order."""
    report: CheckReport
    """What there is to say about the copy."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "folder": str(self.folder),
            "repairs": [dataclasses.asdict(repair) for repair in self.repairs],
            "report": self.report.as_dict(),
        }


def repair_folder(
    data: str | Path,
    out: str | Path,
    *,
    task: TaskWord | None = None,
    progress: Progress | None = None,
) -> Repaired:
    """Write a repaired copy of a data folder, and look at it again.

    Left out are: files that cannot be read, with their partners; images without a mask and masks
    without an image; files that are no pictures; masks of another shape than their image; exact
    copies of pictures (test keeps a picture before val, val before labeled, labeled before
    unlabeled; of copies in one split the first stays, unless their masks differ, which only a
    person can judge). Rewritten are: smeared masks (cut at half), 1 and 255 for the same class,
    class numbers that are off by one where that is unambiguous, impure colors, masks of another
    size but equal shape (by nearest neighbor), masks on their side where it is clear how, pictures
    with an EXIF turn. Renamed are unlabeled pictures of one stem. All else is the same, byte for
    byte. ``hidden/`` is copied as it is; near duplicates and pictures that look odd stay.

    Args:
        data: The data folder; nothing in it is changed.
        out: Must not exist yet, or be empty; appears whole or not at all.
        task: What the masks are; None: what ``imseg.toml`` says, or recognized from them.
        progress: Called with (done, total) after each picture of each look at the copy.

    Raises:
        ImsegError: If there is no data folder, ``out`` is inside of it, holds something or cannot
            be written.
    """
    data, out = Path(data), Path(out)
    if not data.is_dir():
        raise ImsegError(
            f"There is no folder {data} to mend.",
            expected="a data folder with labeled/images and labeled/masks.",
            hint="check the path.",
        )
    if out.resolve().is_relative_to(data.resolve()):
        raise ImsegError(
            f"{out} is inside of {data}, which is never changed.",
            expected="a folder somewhere else.",
            hint=f"--fix {shown(data.resolve())}-repaired",
        )
    with new_folder(out) as part:
        repairs, orientations = copy_usable(data, part)
        for _ in range(_MOST_ROUNDS):
            done = _mend(part, orientations, task=task, progress=progress)
            if not done:
                break
            repairs += done
        write_record(part, repairs, source=str(data))
    report = check_folder(out, task=task, progress=progress)
    return Repaired(folder=out, repairs=tuple(repairs), report=report)


def _mend(
    folder: Path, orientations: dict[str, int], *, task: TaskWord | None, progress: Progress | None
) -> list[Repair]:
    """Mend the copy as far as one look at it allows; return what was done."""
    plan = plan_round(scan(folder, task=task, progress=progress), orientations)
    done = []
    for path, (why, about) in plan.left_out.items():
        path.unlink(missing_ok=True)
        name = path.relative_to(folder).as_posix()
        done.append(Repair(name, "left out", "", "", why, about))
    done += [
        rewrite_mask(path, merged(steps), folder) for path, steps in sorted(plan.rewrites.items())
    ]
    return done
