"""Train an approach into a run folder: the heart of the Python interface."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from imseg.approaches.planning.duration import FILES
from imseg.approaches.planning.settings import Settings
from imseg.approaches.planning.stages import planned_stages, planned_steps
from imseg.approaches.running.auditing import audited
from imseg.approaches.running.context import RunContext
from imseg.approaches.running.generations import Generations, Stages
from imseg.approaches.running.preparation import Prepared, note_changes, prepare
from imseg.approaches.running.pseudo_labeling import Watch
from imseg.approaches.running.run_data import RunData, gather, stores_in
from imseg.approaches.running.stage import announce_plan, choose, start_was_better, summarize
from imseg.approaches.runs.record import (
    check_same_data,
    check_same_target,
    is_unchanged,
    write_record,
)
from imseg.approaches.runs.run import Run, load_run
from imseg.approaches.runs.run_files import FileFacts, Record
from imseg.approaches.runs.verification import mend
from imseg.data.files.atomic import sweep_all
from imseg.data.folder.inspection import KnownFiles
from imseg.engine.storage.run_folder import RunFolder, locked
from imseg.engine.training.monitor import Clock
from imseg.engine.workers.executors import Executor, choose_executor, index_networks
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
        data,
        out=out,
        settings=settings,
        options=options,
        network=network,
        progress=progress,
        stores=True,
    )
    asked, folder, record, plan = ready.asked, ready.folder, ready.record, ready.plan
    dataset, facts = ready.dataset, ready.facts
    folder.open_for_writing()
    progress(Note(text=f"The run goes to {folder.path}"))
    clock = Clock()
    with locked(folder.path):
        sweep_all(folder.path)
        if record is not None:
            mend(folder, lambda wrong: progress(Note(text=wrong, warning=True)))
        _keep_facts(folder, ready.files)
        stored = None if _is_finished(ready) else _store(ready, clock, progress)
        if stored is None or folder.summary.exists():
            progress(Note(text=f"{folder.path} is already finished."))
        else:
            run_data, watch = stored
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


def _keep_facts(folder: RunFolder, files: KnownFiles | None) -> None:
    """Write down what files turned out to be, so that they need not be decoded again."""
    if files is None or (folder.facts.exists() and not files.has_news):
        return
    packed = files.pack()
    if packed is not None:
        FileFacts(files=packed).write(folder.facts)


def _is_finished(ready: Prepared) -> bool:
    """Return whether the run is finished and its data is the same, without a look at pictures."""
    folder, record = ready.folder, ready.record
    if record is None or not folder.summary.exists():
        return False
    if not is_unchanged(folder, record, ready.dataset, ready.hidden_contents()):
        return False
    _identify(ready, record.digests)
    return True


def _store(ready: Prepared, clock: Clock, progress: Progress) -> tuple[RunData, Watch | None]:
    """Return decoded pictures, and who compares pseudo-labels with hidden masks."""
    folder, plan, files = ready.folder, ready.plan, ready.files
    given: dict[str, Any] = {"progress": progress, "reuse": stores_in(ready.asked.reuse)}
    with clock.on(FILES):
        hidden = ready.hidden_pairs
        run_data = gather(
            ready.dataset, plan, folder=folder.cache, hidden=hidden, files=files, **given
        )
        _identify(ready, run_data.digests)
        watch = audited(ready.dataset, plan, hidden, folder=folder, files=files, **given)
    if files is not None:
        files.release()
    return run_data, watch


def _identify(ready: Prepared, digests: Mapping[str, str]) -> None:
    """Write down what this run is, or check that it still is."""
    folder, record, dataset = ready.folder, ready.record, ready.dataset
    if record is not None:
        if folder.target.exists():  # else it was damaged
            check_same_target(folder, dataset)
        check_same_data(folder, record, digests)
    named = record or Record(
        asked=ready.asked.plain(), plan=ready.plan, digests=dict(digests), data=dataset.name
    )
    write_record(folder, named, dataset, ready.hidden_contents())


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
