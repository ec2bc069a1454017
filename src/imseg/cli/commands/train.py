"""``imseg train``: a training, or what it would take."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imseg.cli import show
from imseg.cli.arguments import Config, Data, Json, takes_settings
from imseg.errors import ImsegError, shown
from imseg.progress import in_minutes

if TYPE_CHECKING:
    from imseg.approaches.planning.estimate import Estimate


_IN_WORDS = {"other": "start-up and the rest", "files": "reading images"}


def estimate_text(found: Estimate, now: datetime) -> str:
    """Return what would be trained, how long it would take, and what it needs.

    Args:
        found: What was estimated.
        now: The time of day.
    """
    parts = [_stages(found), _time(found, now), _memory(found), _disk(found)]
    if not found.memory.fits:
        fewer = "--workers 1, " if found.memory.processes > 1 else ""
        parts.append(
            "warning: that is more memory than is free.\n"
            f"  Try:      {fewer}a smaller --batch-size, --image-size or --width, or close other"
            " programs."
        )
    if not found.disk_fits:
        parts.append(
            "warning: that is more than is free on this disk.\n"
            "  Try:      --out on another disk, --limit-unlabeled, or a smaller --image-size."
        )
    parts.append("Nothing was trained or written. Without --dry-run the training begins.")
    return "\n\n".join(parts)


def _stages(found: Estimate) -> str:
    from imseg.report.tables import table

    at_most = "at most " if found.steps_depend_on_time else ""
    rows = [
        [stage.name, str(stage.networks), f"{stage.width:g}", f"{at_most}{stage.steps}"]
        for stage in found.stages
    ]
    text = table(["stage", "networks", "width", "steps of each"], rows)
    if found.steps_depend_on_time:
        text += (
            "\n\nSteps are as many as there is time for; with --minutes image size and width depend"
        )
        text += " on it too. What they cost here was not measured (--no-probe)."
    return text


def _time(found: Estimate, now: datetime) -> str:
    from imseg.approaches.planning.duration import ACTIVITIES
    from imseg.report.tables import table

    if found.time is None or found.seconds is None:
        return "Time: not measured (--no-probe)."
    rows = [
        [_IN_WORDS.get(activity, activity), _minutes(found.time[activity])]
        for activity in ACTIVITIES
        if found.time[activity] > 0
    ]
    rows.append(["in all", _minutes(found.seconds)])
    end = now + timedelta(seconds=found.seconds)
    days = (end.date() - now.date()).days
    when = f"{end:%H:%M}" + (f", {days} day{'s' * (days > 1)} from now" if days else "")
    text = f"Started now it would be done at about {when}, if the machine does nothing else."
    text += f" That is {in_minutes(found.seconds)} min; less if a generation is left out or few"
    text += " pseudo-labels are admitted."
    return f"{table(['activity', 'minutes'], rows)}\n\n{text}"


def _memory(found: Estimate) -> str:
    memory = found.memory
    if memory.process is None:
        return "Memory: not known of a network of your own before it is measured."
    how = "measured" if found.time is not None else "by formula, to within about 15 %"
    side = f"{memory.processes} side by side" if memory.processes > 1 else "one at a time"
    text = (
        f"Memory: {_size(memory.one)} for one training process ({how}),"
        f" {_size(memory.total)} for all of it, {side}; {_size(memory.free)} free here."
    )
    if memory.device is not None:
        text += f"\n        On the GPU {_size(memory.device)}; {_size(memory.device_free)} free."
    return text


def _disk(found: Estimate) -> str:
    disk = found.disk
    sizes = {
        "decoded images": disk.pictures,
        "pseudo-labels": disk.pseudo_labels,
        "what mask scorers learn from": disk.scorers,
    }
    parts = ", ".join(f"{name} {_size(size)}" for name, size in sizes.items() if size)
    return (
        f"Disk:   up to {_size(disk.most)} while it runs ({parts}),"
        f" {_size(disk.finished)} for the finished run; {_size(found.disk_free)} free for"
        f" {shown(found.run)}."
    )


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f}" if seconds >= 3 else "< 0.1"


def _size(count: int | None) -> str:
    """Return bytes in words, in powers of 1000 as disks are sold."""
    if count is None:
        return "an unknown amount"
    for unit, one in (("GB", 10**9), ("MB", 10**6)):
        if count >= one:
            return f"{count / one:.1f} {unit}"
    return f"{count / 1000:.0f} kB"


@takes_settings()
def train(
    data: Data,
    out: Annotated[
        Path | None, typer.Option(help="The run folder.  [default: runs/<data>-<approach>-seed<N>]")
    ] = None,
    config: Config = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Train and write nothing: say what it would take in time, memory and disk.",
        ),
    ] = False,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe/--no-probe", help="With --dry-run: measure a few steps here, or do without."
        ),
    ] = True,
    report: Annotated[
        bool,
        typer.Option(
            "--report/--no-report",
            help="Write report.html into the run at its end, from the validation images.",
        ),
    ] = True,
    json: Json = False,
    **settings: Any,
) -> int:
    """Train an approach. Repeat the command to continue a run that was stopped."""
    from imseg.approaches.planning.estimate import estimate
    from imseg.approaches.planning.settings import settings_from
    from imseg.approaches.running.experiment import fit
    from imseg.approaches.running.stage import missing_by_stage
    from imseg.report.tables import stages_table, time_in_words

    if not probe and not dry_run:
        raise ImsegError(
            "--no-probe says nothing without --dry-run.",
            expected="it with --dry-run, which else measures a few steps.",
            hint="leave it out; --max-steps spares a training its measurement.",
        )
    asked = settings_from(settings, config=config)
    if dry_run:
        with show.Bars() as bars:
            found = estimate(data, out=out, settings=asked, progress=bars, probe=probe)
        return show.show_result(estimate_text(found, datetime.now()), found.as_dict(), as_json=json)
    with show.Bars() as bars:
        run = fit(data, out=out, settings=asked, progress=bars)
        page = run.path / "report.html" if report else None
        if page is not None and not page.exists():  # one that is there stays
            page = show.page_of(
                run.path, data, bars, test=False, quick=True, follow_links=asked.follow_links
            )
    validation = run.metric.text(run.summary["validation"])
    network = f"Network of the run: {run.summary['network']}, validation {validation}"
    lines = [stages_table(run), "", network]
    lines += [f"{stage}: {missing}" for stage, missing in missing_by_stage(run.summary).items()]
    better = f" --network {run.best_of_start}" if run.start_was_better else ""
    if better:
        lines.append(f"The start was better on validation:{better} takes it instead.")
    if spent := time_in_words(run.summary):
        lines.append(f"Time: {spent}")
    if page is not None:
        lines.append(f"Report: {shown(page)}")
    path = shown(run.path)
    links = " --follow-links" if asked.follow_links else ""
    steps = [f"imseg predict {path} IMAGES --out masks/{better}"]
    if (data / "test/images").is_dir():
        steps.insert(0, f"imseg evaluate {path} {shown(data)}{better}{links}")
    lines.append("Next: " + "\n      ".join(steps))
    content = {"run": str(run.path), "report": page and str(page), **run.summary}
    return show.show_result("\n".join(lines), content, as_json=json)
