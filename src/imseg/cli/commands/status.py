"""How far a run or a comparison has come, as text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imseg.cli.arguments import Json
from imseg.progress import in_time

if TYPE_CHECKING:
    from imseg.approaches.runs.run_status import LogNote, RunStatus, StageProgress
    from imseg.comparison.comparison_status import ComparisonStatus
    from imseg.engine.storage.run_folder import Owner


def run_text(status: RunStatus) -> str:
    """Return what is done of a run, what is under way and what is left."""
    parts = ["\n".join([_what(status), _state(status)])]
    if status.stages:
        parts += [_stages(status.stages), _steps(status)]
    elif status.approach is None:
        parts.append("Its images are read; what is trained is settled after that.")
    parts += [_notes(status.notes), _damaged(status.damaged)]
    if status.state == "stopped":
        parts.append(_continue(status.command))
    return "\n\n".join(part for part in parts if part)


def comparison_text(status: ComparisonStatus) -> str:
    """Return how far a comparison has come, a line per run."""
    from imseg.report.tables import table

    head = f"{status.path}: a comparison, {status.finished} of {len(status.runs)} runs finished"
    parts = ["\n".join([head, _by_whom(status.state, status.owner, None)])]
    header = ["run", "state", "at", "networks", "best on validation", "steps done", "left"]
    parts.append(table(header, [_line(name, run) for name, run in status.runs.items()]))
    if status.seconds_left is not None:
        parts.append(f"About {in_time(status.seconds_left)} left{_if_continued(status.state)}.")
    parts.append(_damaged(status.damaged))
    if status.state == "stopped":
        parts.append(_continue(status.command))
    return "\n\n".join(part for part in parts if part)


def _what(status: RunStatus) -> str:
    if status.approach is None:
        return str(status.path)
    return f"{status.path}: {status.approach} on {status.data}, seed {status.seed}"


def _state(status: RunStatus) -> str:
    return _by_whom(status.state, status.owner, status.untouched)


def _by_whom(state: str, owner: Owner | None, untouched: float | None) -> str:
    if state == "finished":
        return "State: finished"
    if owner is not None:
        since = owner.since.replace("T", " ").removesuffix("+00:00")
        return f"State: being trained by process {owner.pid} on {owner.host} since {since} UTC"
    last = "" if untouched is None else f"; last written to {in_time(untouched)} ago"
    return f"State: stopped{last}"


def _stages(stages: Sequence[StageProgress]) -> str:
    from imseg.report.tables import table

    rows = [
        [
            stage.planned.name,
            stage.state,
            f"{len(stage.trained)} of {stage.planned.networks}",
            _score(stage),
            _saved(stage),
            "-" if stage.pseudo_labels is None else "{} of {}".format(*stage.pseudo_labels),
        ]
        for stage in stages
    ]
    header = ["stage", "state", "networks", "best on validation", "checkpoints", "pseudo-labels"]
    return table(header, rows)


def _score(stage: StageProgress) -> str:
    best, metric = stage.best, stage.metric
    if best is None or metric is None:
        return "-"
    return f"{metric.text(best.scores)} ({best.name.rpartition('/')[2]})"


def _saved(stage: StageProgress) -> str:
    told = [
        f"{each.network.rpartition('/')[2]}: step {each.step} of {each.steps},"
        f" {in_time(each.age)} ago"
        for each in stage.saved
    ]
    return "; ".join(told) or "-"


def _steps(status: RunStatus) -> str:
    done, steps = status.steps
    if status.state == "finished":
        return f"{done} training steps were made."
    # A generation that is not begun may learn from fewer images than there are.
    open_ones = any(stage.state == "not begun" and stage.is_generation for stage in status.stages)
    most = "at most " if open_ones else ""
    text = f"{done} of {most}{steps} training steps are done, {done / max(1, steps):.0%}"
    if status.seconds_left is None:
        return f"{text}. How long it takes shows when a network has a checkpoint."
    return f"{text}. About {in_time(status.seconds_left)} left{_if_continued(status.state)}."


def _if_continued(state: str) -> str:
    return " when it is continued" if state == "stopped" else ""


def _notes(notes: Sequence[LogNote]) -> str:
    if not notes:
        return ""
    lines = [
        f"* {'' if note.age is None else in_time(note.age) + ' ago: '}"
        f"{'warning: ' if note.warning else ''}{note.text}"
        for note in notes
    ]
    return "\n".join(["Told last:", *lines])


def _damaged(damaged: Sequence[str]) -> str:
    if not damaged:
        return ""
    lines = [f"* {wrong}" for wrong in damaged]
    return "\n".join(["Damaged (what is damaged, and only that, is made again):", *lines])


def _continue(command: str | None) -> str:
    if command is None:
        return "To continue, call imseg.fit again as it was called; it was not begun by a command."
    return f"To continue: {command}"


def _line(name: str, run: RunStatus | None) -> list[str]:
    if run is None:
        return [name, "not begun", *["-"] * 5]
    stage = run.current or (run.stages[-1] if run.stages else None)
    done, steps = run.steps
    share = f"{done / steps:.0%}" if steps else "-"
    left = "-" if run.seconds_left is None else f"about {in_time(run.seconds_left)}"
    if stage is None:
        return [name, run.state, "-", "-", "-", share, left]
    scored = [each for each in run.stages if each.trained and not each.planned.scores_masks]
    return [
        name,
        run.state,
        stage.planned.name,
        f"{len(stage.trained)} of {stage.planned.networks}",
        _score(scored[-1]) if scored else "-",
        share,
        left,
    ]


RunOrComparison = Annotated[
    Path,
    typer.Argument(
        help="The folder of a run or of a comparison.", metavar="RUN|COMPARISON", show_default=False
    ),
]


def status(folder: RunOrComparison, json: Json = False) -> int:
    """Show what is done, under way and left; a training that goes on is not disturbed."""
    from imseg.approaches.runs.run_status import status_of
    from imseg.cli import show
    from imseg.comparison.comparison_status import comparison_status, is_comparison

    found: RunStatus | ComparisonStatus
    if is_comparison(folder):
        found = comparison = comparison_status(folder)
        text = comparison_text(comparison)
    else:
        found = run = status_of(folder)
        text = run_text(run)
    if json:
        show.show_json(found.as_dict())
    else:
        print(text)
    return 0
