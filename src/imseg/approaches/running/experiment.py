"""Train an approach into a run folder: the heart of the Python interface."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from imseg.approaches.planning.duration import FILES
from imseg.approaches.planning.plan import Plan
from imseg.approaches.planning.settings import Settings
from imseg.approaches.planning.stages import planned_stages, planned_steps
from imseg.approaches.running.announce import announce_plan, start_was_better
from imseg.approaches.running.auditing import audited
from imseg.approaches.running.context import RunContext
from imseg.approaches.running.generations import Generations, Stages
from imseg.approaches.running.preparation import note_changes, prepare
from imseg.approaches.running.run_data import RunData, gather, stores_in
from imseg.approaches.running.stage import choose, summarize
from imseg.approaches.runs.record import (
    check_same_data,
    check_same_target,
    write_record,
)
from imseg.approaches.runs.run import Run, load_run
from imseg.approaches.runs.run_files import Record
from imseg.approaches.runs.verification import mend
from imseg.data.files.atomic import sweep_all
from imseg.engine.storage.lock import locked
from imseg.engine.storage.run_folder import RunFolder
from imseg.engine.training.clock import Clock
from imseg.engine.workers.executors import Executor, choose_executor
from imseg.engine.workers.jobs import index_networks
from imseg.networks.registry import NetworkFactory
from imseg.progress import Event, Note, Planned, Progress, Stepped, Working, log_progress
from imseg.tasks import task_for
from imseg.types import DataSet


def fit(
    data: str | Path | DataSet,
    *,
    out: str | Path | None = None,
    settings: Settings | None = None,
    network: NetworkFactory | str | None = None,
    progress: Progress = log_progress,
    executor: Executor | None = None,
    **options: Any,
) -> Run:
    """Train an approach and return the finished run; called again, it continues.

    Examples:
        >>> run = fit("my-data", approach="im", effort="quick")  # doctest: +SKIP

    Args:
        data: A folder in the documented layout, or a data set made from arrays or torch Datasets.
        out: The run folder; ``runs/<data>-<approach>-seed<N>`` by default.
        settings: What to do; or give its fields as keyword arguments.
        network: A callable ``(channels, outputs, width) -> nn.Module`` from images (``b c h w``,
            0..1) to logits (``b outputs h w``), or the name of a network. A callable that cannot be
            imported by its name is trained in this process, one network after the other.
        progress: Told how the work goes on.
        executor: Trains the networks and stays open; by default one is made for this call.
        options: Fields of ``Settings``, such as ``approach="im"`` or ``max_steps=300``.

    Raises:
        ImsegError: For everything the user can mend, before training starts.
        TrainingFailed: If too few networks could be trained.
    """
    ready = prepare(
        data, out=out, settings=settings, options=options, network=network, progress=progress
    )
    asked, folder, record, plan = ready.asked, ready.folder, ready.record, ready.plan
    dataset, hidden, facts = ready.dataset, ready.hidden_pairs, ready.facts
    folder.open_for_writing()
    progress(Note(text=f"The run goes to {folder.path}"))
    clock = Clock()
    with locked(folder.path):
        sweep_all(folder.path)
        if record is not None:
            mend(folder, lambda wrong: progress(Note(text=wrong, warning=True)))
        stores = stores_in(asked.reuse)
        with clock.on(FILES):
            run_data = gather(
                dataset, plan, folder=folder.cache, hidden=hidden, progress=progress, reuse=stores
            )
            _identify(folder, record, asked, plan, dataset, run_data)
            watch = audited(dataset, plan, hidden, folder=folder, progress=progress, reuse=stores)
        if folder.summary.exists():
            progress(Note(text=f"{folder.path} is already finished."))
        else:
            recorder = _Recorder(folder, progress)
            recorder(Planned(steps=planned_steps(planned_stages(plan, facts)), first=True))
            if record is not None:
                progress(Note(text=f"It is continued: {announce_plan(plan, facts, None)}"))
            own = executor or choose_executor(
                plan.compute, workers=plan.workers, network=plan.network
            )
            with contextlib.nullcontext() if executor is not None else own:
                context = RunContext(
                    plan=plan,
                    task=task_for(dataset.spec, paper=plan.paper),
                    facts=facts,
                    data=run_data,
                    folder=folder,
                    executor=own,
                    progress=recorder,
                    elsewhere=index_networks(asked.reuse) if asked.reuse else {},
                    clock=clock,
                )
                stages = Generations(context, watch=watch).run()
            _finish(context, stages)
        folder.drop_cache()
    return load_run(folder.path)


def _finish(context: RunContext, stages: Stages) -> None:
    with context.clock.on(FILES):
        note_changes(context.data, context.progress)
    final = choose(stages.candidates, last=context.plan.takes_last)
    summary = summarize(stages.candidates, context.plan, clock=context.clock, aside=stages.aside)
    if summary.start_was_better:
        context.note(start_was_better(stages.candidates, final), warning=True)
    summary.write(context.folder.summary)


def _identify(
    folder: RunFolder,
    record: Record | None,
    asked: Settings,
    plan: Plan,
    dataset: DataSet,
    run_data: RunData,
) -> None:
    """Write down what this run is, or check that it still is."""
    digests = run_data.digests
    if record is not None:
        if folder.target.exists():  # else it was damaged
            check_same_target(folder, dataset)
        check_same_data(folder, record, digests)
    named = record or Record(
        asked=asked.plain(), plan=plan, digests=dict(digests), data=dataset.name
    )
    write_record(folder, named, dataset)


class _Recorder:
    """Passes events on and keeps the ones worth keeping in the run's log."""

    def __init__(self, folder: RunFolder, progress: Progress) -> None:
        self._folder = folder
        self._progress = progress
        self._began = time.monotonic()

    def __call__(self, event: Event) -> None:
        if not isinstance(event, (Stepped, Working)):
            passed = round(time.monotonic() - self._began, 1)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            entry = {"event": type(event).__name__, "at": passed, "time": now, **asdict(event)}
            self._folder.write_log(entry)
        self._progress(event)
