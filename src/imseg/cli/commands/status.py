"""``imseg status`` and ``verify``: how far a run or a comparison has come, and if it is whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imseg.cli import show
from imseg.cli.arguments import FollowLinks, Json, TrustNetwork
from imseg.errors import ImsegError, shown
from imseg.progress import in_time

if TYPE_CHECKING:
    from imseg.approaches.runs import retraining, run_status, verification
    from imseg.comparison.result import ComparisonStatus
    from imseg.engine.storage.run_folder import Owner


def run_text(status: run_status.RunStatus) -> str:
    """Return what is done of a run, what is under way and what is left."""
    head = str(status.path)
    if status.approach is not None:
        head += f": {status.approach} on {status.data}, seed {status.seed}"
    parts = [f"{head}\n{_by_whom(status.state, status.owner, status.untouched)}"]
    if status.stages:
        parts += [_stages(status.stages), _steps(status)]
    elif status.approach is None:
        parts.append("Its images are read; what is trained is settled after that.")
    notes = [
        f"{'' if note.age is None else in_time(note.age) + ' ago: '}"
        f"{'warning: ' if note.warning else ''}{note.text}"
        for note in status.notes
    ]
    parts += [_listed("Told last:", notes), *_ends(status)]
    return "\n\n".join(part for part in parts if part)


def comparison_text(status: ComparisonStatus) -> str:
    """Return how far a comparison has come, a line per run."""
    from imseg.report.tables import table

    head = f"{status.path}: a comparison, {status.finished} of {len(status.runs)} runs finished"
    header = ["run", "state", "at", "networks", "best on validation", "steps done", "left"]
    parts = [
        f"{head}\n{_by_whom(status.state, status.owner, None)}",
        table(header, [_line(name, run) for name, run in status.runs.items()]),
        "" if status.seconds_left is None else _left(status.seconds_left, status.state),
        *_ends(status),
    ]
    return "\n\n".join(part for part in parts if part)


def _by_whom(state: str, owner: Owner | None, untouched: float | None) -> str:
    if state == "finished":
        return "State: finished"
    if owner is not None:
        since = owner.since.replace("T", " ").removesuffix("+00:00")
        return f"State: being trained by process {owner.pid} on {owner.host} since {since} UTC"
    last = "" if untouched is None else f"; last written to {in_time(untouched)} ago"
    return f"State: stopped{last}"


def _stages(stages: Sequence[run_status.StageProgress]) -> str:
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


def _score(stage: run_status.StageProgress) -> str:
    best, metric = stage.best, stage.metric
    if best is None or metric is None:
        return "-"
    return f"{metric.text(best.scores)} ({best.name.rpartition('/')[2]})"


def _saved(stage: run_status.StageProgress) -> str:
    told = [
        f"{each.network.rpartition('/')[2]}: step {each.step} of {each.steps},"
        f" {in_time(each.age)} ago"
        for each in stage.saved
    ]
    return "; ".join(told) or "-"


def _steps(status: run_status.RunStatus) -> str:
    done, steps = status.steps
    if status.state == "finished":
        return f"{done} training steps were made."
    # A generation that is not begun may learn from fewer images than there are.
    open_ones = any(stage.state == "not begun" and stage.is_generation for stage in status.stages)
    most = "at most " if open_ones else ""
    text = f"{done} of {most}{steps} training steps are done, {done / max(1, steps):.0%}"
    if status.seconds_left is None:
        return f"{text}. How long it takes shows when a network has a checkpoint."
    return f"{text}. {_left(status.seconds_left, status.state)}"


def _left(seconds: float, state: str) -> str:
    return f"About {in_time(seconds)} left{' when it is continued' * (state == 'stopped')}."


def _listed(head: str, items: Sequence[str]) -> str:
    """Return a heading and what is listed below it; an empty text where there is nothing."""
    return "\n".join([head, *(f"* {item}" for item in items)]) if items else ""


def _ends(status: run_status.RunStatus | ComparisonStatus) -> Iterator[str]:
    """Yield what is damaged, and how to go on."""
    yield _listed("Damaged (what is damaged, and only that, is made again):", status.damaged)
    if status.state == "stopped" and status.command is not None:
        yield f"To continue: {status.command}"
    elif status.state == "stopped":
        yield "To continue, call imseg.fit again as it was called; it was not begun by a command."


def _line(name: str, run: run_status.RunStatus | None) -> list[str]:
    if run is None:
        return [name, "not begun", *["-"] * 5]
    stage = run.current or next((s for s in reversed(run.stages) if s.state == "done"), None)
    done, steps = run.steps
    share = f"{done / steps:.0%}" if steps else "-"
    left = "-" if run.seconds_left is None else f"about {in_time(run.seconds_left)}"
    networks = f"{len(stage.trained)} of {stage.planned.networks}" if stage else "-"
    scored = [each for each in run.stages if each.trained and not each.planned.scores_masks]
    best = _score(scored[-1]) if scored else "-"
    return [name, run.state, stage.planned.name if stage else "-", networks, best, share, left]


RunOrComparison = Annotated[
    Path, typer.Argument(help="The folder of a run or of a comparison.", metavar="RUN|COMPARISON")
]


def status(folder: RunOrComparison, json: Json = False) -> int:
    """Show what is done, under way and left; a training that goes on is not disturbed."""
    from imseg.approaches.runs import run_status
    from imseg.comparison.result import comparison_status, is_comparison

    if is_comparison(folder):
        comparison = comparison_status(folder)
        return show.show_result(comparison_text(comparison), comparison.as_dict(), as_json=json)
    run = run_status.status_of(folder)
    return show.show_result(run_text(run), run.as_dict(), as_json=json)


EXPECTED = (
    "At equal versions of imseg and its libraries, on one machine, a network that is trained in"
    " float32 on the CPU\nis the same to the bit."
)
GPU = (
    "A GPU does not always add in the\nsame order: small differences of weights are to be expected"
    " there, and scores that are close."
)


def files_text(found: verification.Verified) -> str:
    """Return how many files of each kind are whole, and what is damaged."""
    from imseg.report.tables import table

    rows = [[kind, str(each.whole), str(each.damaged)] for kind, each in found.counts.items()]
    head = f"{found.path}: every file compared with its checksum"
    files = table(["files", "whole", "damaged or missing"], rows)
    damages = "\n".join(f"* {each.wrong}\n  Try: {each.remedy}" for each in found.damages)
    return f"{head}\n\n{files}\n\n{damages or 'Nothing is damaged or missing.'}"


def network_text(again: retraining.Retrained) -> str:
    """Return whether a network that was trained again is the same, and where it is not."""
    if again.same:
        return (
            f"{again.network} trained again is the same to the bit: all {again.tensors} tensors,"
            " scores and losses."
        )
    parts = [f"{again.network} trained again differs."]
    if not again.same_job:
        parts.append(
            "It was not trained on the same: networks that it learns from, stored settings or imseg"
            " have changed since."
        )
    changed, most = len(again.differing_tensors), again.largest_difference
    lines = [
        f"weights: {changed} of {again.tensors} tensors differ, by {most:.3g} at most"
        if changed
        else f"weights: the same to the bit, all {again.tensors} tensors"
    ]
    for what, each in again.differing_scores.items():
        then, now = each["then"], each["now"]
        if isinstance(then, dict):
            lines += [
                f"{name}: {_number(then.get(name))} then, {_number(now.get(name))} now"
                for name in sorted({*then, *now})
                if repr(then.get(name)) != repr(now.get(name))
            ]
        else:
            lines.append(f"{what}: {'differ' if isinstance(then, tuple) else _then_now(each)}")
    parts += ["\n".join(f"* {line}" for line in lines), _surroundings(again)]
    return "\n\n".join(parts)


def _surroundings(again: retraining.Retrained) -> str:
    """Return what else differs, and what was to be expected."""
    changed = again.differing_surroundings.items()
    told = _listed(
        "What is not as it was when the run was begun:",
        [f"{what}: {_then_now(each)}" for what, each in changed],
    )
    expected = EXPECTED
    if not again.exact:
        expected += f" This one was trained on {again.device} in {again.precision}, where that is"
        expected += " not promised."
    if again.device != "cpu":
        expected += f" {GPU}"
    return f"{told or 'Versions and machine are those of then.'}\n\n{expected}"


def _then_now(each: dict[str, Any]) -> str:
    return f"{each['then']} then, {each['now']} now"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.9g}"


def verify(
    folder: RunOrComparison,
    retrain: Annotated[
        str | None,
        typer.Option(
            metavar="NETWORK",
            help="Train this network again as it was, such as start/network-0, and compare the two;"
            " the run itself is not touched.",
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="What the run was trained on; with --retrain.")
    ] = None,
    follow_links: FollowLinks = False,
    trust_network: TrustNetwork = False,
    json: Json = False,
) -> int:
    """Compare every file of a run or a comparison with its checksum; nothing is changed."""
    from imseg.approaches.runs import retraining, verification

    for option, given in (("--trust-network", trust_network), ("--follow-links", follow_links)):
        if given and retrain is None:
            raise ImsegError(
                f"{option} says nothing without --retrain.",
                expected="it where a network is trained again; checksums need no network or data.",
                hint="leave it out.",
            )
    _check(folder, retrain, data)
    again = None
    with show.Bars() as bars:
        found = verification.verify(folder, progress=partial(bars.counted, "checking files"))
        if retrain is not None and data is not None and not found.damages:
            again = retraining.retrain(
                folder,
                retrain,
                data,
                trust_network=trust_network,
                follow_links=follow_links,
                progress=bars,
            )
    text, content = files_text(found), found.as_dict()
    if retrain is not None:
        content["retrained"] = again and again.as_dict()
        missing = f"{retrain} was not trained again: first let what is damaged be made again."
        text += f"\n\n{network_text(again) if again else missing}"
    failed = bool(found.damages) or (again is not None and not again.same)
    return show.show_result(text, content, as_json=json, failed=failed)


def _check(folder: Path, retrain: str | None, data: Path | None) -> None:
    """Check that both or neither of two options are given, for a run."""
    from imseg.comparison.result import is_comparison

    if retrain is not None and is_comparison(folder):
        raise ImsegError(
            f"{folder} is a comparison, and --retrain is about a network of a run.",
            expected=f"one of its runs, such as {shown(folder)}/seed-0/ldt.",
            hint=f"imseg status {shown(folder)} lists them.",
        )
    if (retrain is None) == (data is None):
        return
    missing = "--data" if data is None else "--retrain"
    raise ImsegError(
        f"{missing} is missing.",
        expected="--retrain NETWORK and --data DATA together, or neither.",
        got=f"--retrain {shown(retrain)}" if data is None else f"--data {shown(data)}",
        hint=f"imseg verify {shown(folder)} --retrain {shown(retrain or 'start/network-0')} --data"
        f" {shown(data or 'DATA')}",
    )
