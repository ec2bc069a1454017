"""Train an approach into a run folder: the heart of the Python interface."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from imseg.approaches.planning.duration import FILES, needed_bytes
from imseg.approaches.planning.estimate import BARE_PROCESS, check_room
from imseg.approaches.planning.settings import Settings
from imseg.approaches.planning.stage_plan import planned_stages, planned_steps
from imseg.approaches.running import stage
from imseg.approaches.running.auditing import audited
from imseg.approaches.running.context import RunContext
from imseg.approaches.running.generations import Generations, Watch
from imseg.approaches.running.preparation import Prepared, asked_for, prepare
from imseg.approaches.running.run_data import PictureStore, RunData, gather, stores_in
from imseg.approaches.runs import record, verification
from imseg.approaches.runs.run import Run, load_run
from imseg.approaches.runs.run_files import FileFacts, Record
from imseg.data.cache.store import changed_sources
from imseg.data.files.atomic import sweep_all
from imseg.data.files.listing import counted
from imseg.data.folder.inspection import KnownFiles
from imseg.engine.storage.run_folder import RunFolder, locked
from imseg.engine.training.monitor import Clock
from imseg.engine.workers.choice import ExecutorName, choose_executor
from imseg.engine.workers.executors import Executor, index_networks
from imseg.errors import and_more
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
    executor: Executor | ExecutorName | None = None,
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
        executor: Trains the networks and stays open; by default, or by its name (``"ray"``), one is
            made for this call.
        options: Fields of ``Settings``, such as ``approach="im"`` or ``max_steps=300``.

    Raises:
        ImsegError: For everything the user can mend, before training starts.
        TrainingFailed: If too few networks could be trained.
    """
    if isinstance(executor, str):
        options, executor = {**options, "executor": executor}, None
    asked = asked_for(settings, options, network)
    ready = prepare(data, asked, out=out, progress=progress, stores=True)
    folder, plan, facts = ready.folder, ready.plan, ready.facts
    check_room(ready)
    folder.open_for_writing()
    progress(Note(text=f"The run goes to {folder.path}"))
    clock = Clock()
    with locked(folder.path):
        sweep_all(folder.path)
        if ready.record is not None:
            verification.mend(folder, lambda wrong: progress(Note(text=wrong, warning=True)))
        _keep_facts(folder, ready.files)
        finished = _is_finished(ready)
        others = executor is not None or finished
        with contextlib.nullcontext(executor) if others else _executor(ready) as trainer:
            stored = None if finished else _store(ready, clock, progress)
            if stored is None or trainer is None or folder.summary.exists():
                progress(Note(text=f"{folder.path} is already finished."))
            else:
                run_data, watch = stored
                recorder = _recorded(folder, progress)
                recorder(Planned(steps=planned_steps(planned_stages(plan, facts)), first=True))
                if ready.record is not None:
                    planned = stage.announce_plan(plan, facts, None)
                    progress(Note(text=f"It is continued: {planned}"))
                context = RunContext(
                    plan=plan,
                    task=task_for(ready.dataset.spec, paper=plan.paper),
                    facts=facts,
                    data=run_data,
                    folder=folder,
                    executor=trainer,
                    progress=recorder,
                    elsewhere=index_networks(asked.reuse) if asked.reuse else {},
                    clock=clock,
                )
                candidates = Generations(context, watch=watch).run()
                _finish(context, candidates)
        folder.drop_cache()
    return load_run(folder.path)


def _executor(ready: Prepared) -> Executor:
    """Return who trains the networks of a run."""
    plan, asked = ready.plan, ready.asked
    there = asked.executor == "ray" and plan.compute.device == "cpu"
    needed = needed_bytes(plan, ready.facts) if there else None
    return choose_executor(
        plan.compute,
        workers=plan.workers,
        network=plan.network,
        name=asked.executor,
        address=asked.address,
        memory=None if needed is None else BARE_PROCESS + needed,
    )


def _finish(context: RunContext, candidates: Sequence[stage.Stage]) -> None:
    with context.clock.on(FILES):
        changed = [name for index in context.data.indices for name in changed_sources(index)]
    if changed:
        count = counted(len(changed), "image or mask", "images or masks")
        text = f"{count} changed during training: {and_more(changed)}. The run has learned from"
        text += " what they were before; train again to learn from what they are now."
        context.note(text, warning=True)
    keeps_start = context.approach.keeps_start
    final = stage.choose(candidates, last=context.plan.takes_last, keeps_start=keeps_start)
    aside = [each for each in context.done if each not in candidates]
    summary = stage.summarize(candidates, context.plan, clock=context.clock, aside=aside)
    if summary.gain is not None and keeps_start:
        context.note(stage.what_was_bought(summary.gain, final))
    elif summary.start_was_better:
        context.note(stage.start_was_better(candidates, final), warning=True)
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
    known, folder = ready.record, ready.folder
    if known is None or not folder.summary.exists():
        return False
    if not record.is_unchanged(folder, known, ready.dataset, ready.hidden_contents()):
        return False
    _identify(ready, known.digests)
    return True


def _store(ready: Prepared, clock: Clock, progress: Progress) -> tuple[RunData, Watch | None]:
    """Return decoded pictures, and who compares pseudo-labels with hidden masks."""
    folder, files, hidden = ready.folder, ready.files, ready.hidden_pairs
    store = PictureStore(
        data=ready.dataset,
        plan=ready.plan,
        folder=folder.cache,
        progress=progress,
        reuse=stores_in(ready.asked.reuse),
        files=files,
    )
    with clock.on(FILES):
        run_data = gather(store, hidden=hidden)
        _identify(ready, run_data.digests)
        watch = audited(store, hidden=hidden, folder=folder)
    if files is not None:
        files.release()
    return run_data, watch


def _identify(ready: Prepared, digests: Mapping[str, str]) -> None:
    """Write down what this run is, or check that it still is."""
    known, folder, dataset = ready.record, ready.folder, ready.dataset
    if known is not None:
        if folder.target.exists():  # else it was damaged
            record.check_same_target(folder, dataset)
        record.check_same_data(folder, known, digests)
    known = known or Record(
        asked=ready.asked.plain(), plan=ready.plan, digests=dict(digests), data=dataset.name
    )
    record.write_record(folder, known, dataset, ready.hidden_contents())


def _recorded(folder: RunFolder, progress: Progress) -> Progress:
    """Return what passes events on and keeps the ones worth keeping in the run's log."""
    began = time.monotonic()

    def keep(event: Event) -> None:
        if not isinstance(event, (Stepped, Working)):
            passed = round(time.monotonic() - began, 1)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            entry = {"event": type(event).__name__, "at": passed, "time": now, **asdict(event)}
            folder.write_log(entry)
        progress(event)

    return keep
