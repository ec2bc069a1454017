"""The paper's experiments under its own settings, and ours beside its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imseg.approaches.methods.catalog import find_approach
from imseg.approaches.methods.paper import Published
from imseg.comparison.comparison_plan import ComparisonPlan, plan_comparison
from imseg.comparison.paper_comparison import (
    PUBLISHED,
    RUNS,
    Reproduction,
    compare_with_paper,
    default_approaches,
)
from imseg.comparison.result import Comparison
from imseg.comparison.runner import carry_out
from imseg.data.datasets import prepare_data_set
from imseg.engine.storage.sealed import write_json
from imseg.errors import ImsegError, look_up
from imseg.progress import Note, Progress, Working, log_progress

RESULT_FILE = "reproduction.json"
HIDDEN = Path("hidden") / "masks"


def reproduce(
    name: str,
    data: str | Path,
    *,
    approaches: Sequence[str] | None = None,
    runs: int = RUNS,
    out: str | Path | None = None,
    matched: bool = False,
    progress: Progress = log_progress,
    **options: Any,
) -> Reproduction:
    """Train approaches as in the paper and hold the scores against the published ones.

    Each run has its own split and its own networks where ``data`` is the download; a data folder
    that is prepared already has one split, which all runs share. Called again, it continues.

    Args:
        name: ``isic2018``, ``hela``, ``suim`` or ``cityscapes``.
        data: The download as its source gives it, or what ``imseg prepare`` made of it.
        approaches: Names; None for both ends of the gap, IM and the paper's best on this data set.
        runs: How often everything is done; the paper has 3.
        out: The folder; ``runs/reproduce-<name>`` by default.
        matched: Add the baselines that train as long as each method, which the paper lacks.
        progress: Told how the work goes on.
        options: Fields of ``Settings`` that make it smaller, such as ``max_steps=100``.

    Raises:
        ImsegError: For everything the user can mend, before training starts.
        TrainingFailed: If no run at all could be finished.
    """
    plans = plan_reproduction(
        name,
        data,
        approaches=approaches,
        runs=runs,
        out=out,
        matched=matched,
        options=options,
        progress=progress,
    )
    return carry_out_all(name, plans, options=options, progress=progress)[0]


def plan_reproduction(
    name: str,
    data: str | Path,
    *,
    approaches: Sequence[str] | None,
    runs: int,
    out: str | Path | None,
    matched: bool,
    options: Mapping[str, Any],
    progress: Progress,
) -> list[ComparisonPlan]:
    """Return one comparison a split. Downloads are prepared for that; nothing is trained.

    Args:
        name: As in ``reproduce``, like all others.
        data: The download, or a prepared folder.
        approaches: Names, or None.
        runs: How often.
        out: The folder, or None.
        matched: Whether baselines that train as long are added.
        options: Fields of ``Settings``.
        progress: Told what is prepared.

    Raises:
        ImsegError: For everything the user can mend.
    """
    known: dict[str, Published] = {each: each for each in PUBLISHED}
    chosen = look_up(name, known, noun="published experiment", command="imseg reproduce {} DATA")
    if runs < 1:
        raise ImsegError("There is nothing to do.", expected="--runs 1 or more.", got=str(runs))
    place = Path(out) if out is not None else Path("runs") / f"reproduce-{chosen}"
    wanted = list(approaches or default_approaches(chosen))
    found = [find_approach(each) for each in wanted]
    looks = any(each.sees_truth or each.pseudo_label is not None for each in found)
    plans = []
    splits = _splits(chosen, Path(data), place=place, runs=runs, progress=progress)
    for folder, seeds, where in splits:
        given = {**options, "paper": chosen}
        if looks and (folder / HIDDEN).is_dir():
            given["unlabeled_masks"] = folder / HIDDEN
        plans.append(
            plan_comparison(
                folder,
                approaches=wanted,
                seeds=seeds,
                out=where,
                options=given,
                progress=progress,
                matched=matched,
            )
        )
    return plans


def carry_out_all(
    name: str, plans: Sequence[ComparisonPlan], *, options: Mapping[str, Any], progress: Progress
) -> tuple[Reproduction, list[Comparison]]:
    """Return what planned comparisons find, beside the paper's numbers, and the comparisons.

    Args:
        name: Which data set.
        plans: From ``plan_reproduction``.
        options: Fields of ``Settings`` that make it smaller.
        progress: Told how the work goes on.

    Raises:
        TrainingFailed: If no run at all could be finished.
    """
    chosen: Published = next(each for each in PUBLISHED if each == name)
    found = []
    for number, planned in enumerate(plans, 1):
        if len(plans) > 1:
            progress(Note(text=f"split {number} of {len(plans)}"))
        found.append(carry_out(planned, progress))
    done = compare_with_paper(chosen, found, plans, options=options)
    write_json(plans[0].out.parent / RESULT_FILE, done.as_dict())
    return done, found


def _splits(
    name: Published, data: Path, *, place: Path, runs: int, progress: Progress
) -> list[tuple[Path, list[int], Path]]:
    """Return data folder, seeds and place of each comparison; downloads are prepared here."""
    if (data / "labeled").is_dir():
        return [(data, list(range(runs)), place / "split-0")]
    found = []
    for seed in range(runs):
        folder = place / f"data-{seed}"
        if not (folder / "splits.json").is_file():
            progress(Note(text=f"preparing split {seed} in {folder}"))
            prepare_data_set(
                name,
                data,
                folder,
                seed=seed,
                progress=lambda what, done, total: progress(
                    Working(what=what, done=done, total=total)
                ),
                **({"paper_split": True} if name == "cityscapes" else {}),
            )
        found.append((folder, [seed], place / f"split-{seed}"))
    return found
