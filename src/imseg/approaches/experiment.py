"""Train an approach into a run folder: the heart of the Python interface."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from imseg.approaches.announce import announce_plan, start_was_better
from imseg.approaches.auditing import audited
from imseg.approaches.budget import make_plan
from imseg.approaches.generations import Generations, Stages
from imseg.approaches.intake import check_facts, check_fits, facts_of, note_changes, read_data
from imseg.approaches.material import Material, gather, stores_in
from imseg.approaches.news import tell_news
from imseg.approaches.plan import Plan, match_plan
from imseg.approaches.record import (
    Record,
    check_same,
    check_same_data,
    check_same_target,
    plain_settings,
    read_record,
    write_record,
)
from imseg.approaches.run import Run, load_run
from imseg.approaches.schedule import Facts, planned_steps
from imseg.approaches.settings import Settings, settings_from
from imseg.approaches.stage import choose, summarize
from imseg.approaches.timing import FILES
from imseg.approaches.workshop import Workshop
from imseg.data.encoding import describe_values
from imseg.data.folder import hidden_masks
from imseg.data.recognize import word_of
from imseg.engine.clock import Clock
from imseg.engine.executors import Executor, choose_executor
from imseg.engine.jobs import index_networks
from imseg.engine.lock import locked
from imseg.engine.networks import NetworkFactory, check_factory
from imseg.engine.progress import Event, Note, Planned, Progress, Stepped, Working, log_progress
from imseg.engine.runs import RunFolder, write_json
from imseg.errors import ImsegError
from imseg.tasks import task_for
from imseg.types import DataSet


def fit(
    data: str | Path | DataSet,
    *,
    out: str | Path | None = None,
    settings: Settings | None = None,
    network: NetworkFactory | None = None,
    progress: Progress = log_progress,
    executor: Executor | None = None,
    **options: Any,
) -> Run:
    """Train an approach and return the finished run; called again, it continues.

    >>> run = fit("my-data", approach="im", effort="quick")  # doctest: +SKIP

    Args:
        data: A folder in the documented layout, or a data set made from arrays or torch Datasets.
        out: The run folder; ``runs/<data>-<approach>-seed<N>`` by default.
        settings: What to do; or give its fields as keyword arguments.
        network: A callable ``(channels, outputs, width) -> nn.Module`` from images (``b c h w``,
            0..1) to logits (``b outputs h w``). Such networks are trained one after the other in
            this process.
        progress: Told how the work goes on.
        executor: Trains the networks and stays open; by default one is made for this call.
        options: Fields of ``Settings``, such as ``approach="im"`` or ``max_steps=300``.

    Raises:
        ImsegError: For everything the user can mend, before training starts.
        TrainingFailed: If too few networks could be trained.
    """
    asked = _asked(settings, options)
    matched = load_run(asked.match) if asked.match is not None else None
    folder = RunFolder(Path(out if out is not None else default_out(data, asked)))
    record = read_record(folder)
    if record is not None:
        check_same(folder, record, asked)
    dataset = data if isinstance(data, DataSet) else read_data(Path(data), asked, progress)
    check_fits(dataset, asked, matched)
    hidden = None
    if asked.unlabeled_masks is not None:
        hidden = hidden_masks(dataset, asked.unlabeled_masks)
    if record is None and asked.reuse is not None:
        tell_news(asked.reuse, dataset, progress)
    facts = facts_of(dataset)
    check_facts(asked, facts, dataset)
    plan = record.plan if record else _new_plan(asked, facts, dataset, matched, network, progress)
    if network is not None:
        check_factory(
            network,
            channels=dataset.reading.channels,
            outputs=dataset.spec.outputs,
            width=plan.width,
            size=plan.image_size,
        )
    folder.open_for_writing()
    progress(Note(text=f"The run goes to {folder.path}"))
    clock = Clock()
    with locked(folder.path):
        stores = stores_in(asked.reuse)
        with clock.on(FILES):
            material = gather(
                dataset, plan, folder=folder.cache, hidden=hidden, progress=progress, reuse=stores
            )
            _identify(folder, record, asked, plan, dataset, material)
            watch = audited(dataset, plan, hidden, folder=folder, progress=progress, reuse=stores)
        if folder.summary.exists():
            progress(Note(text=f"{folder.path} is already finished."))
        else:
            recorder = _Recorder(folder, progress)
            recorder(Planned(steps=planned_steps(plan, facts), first=True))
            if record is not None:
                progress(Note(text=f"It is continued: {announce_plan(plan, facts, None)}"))
            own = executor or choose_executor(plan.numerics, workers=plan.workers, factory=network)
            with contextlib.nullcontext() if executor is not None else own:
                workshop = Workshop(
                    plan=plan,
                    approach=plan.customized(),
                    task=task_for(dataset.spec, paper=plan.paper),
                    facts=facts,
                    material=material,
                    folder=folder,
                    executor=own,
                    progress=recorder,
                    factory=network,
                    elsewhere=index_networks(asked.reuse) if asked.reuse else {},
                    clock=clock,
                )
                stages = Generations(workshop, watch=watch).run()
            _finish(workshop, stages)
        folder.drop_cache()
    return load_run(folder.path, network=network)


def _new_plan(
    asked: Settings,
    facts: Facts,
    dataset: DataSet,
    matched: Run | None,
    network: NetworkFactory | None,
    progress: Progress,
) -> Plan:
    plan, seconds = make_plan(asked, facts, factory=network)
    if matched is not None:
        plan = _matched(plan, matched, facts, asked, progress=progress)
    word = word_of(dataset.spec)
    progress(Note(text=f"{word} masks: {describe_values(dataset.spec).rstrip('.')}"))
    progress(Note(text=announce_plan(plan, facts, seconds)))
    return plan


def _finish(shop: Workshop, stages: Stages) -> None:
    with shop.clock.on(FILES):
        note_changes(shop.material, shop.progress)
    final = choose(stages.candidates, last=shop.plan.takes_last)
    summary = summarize(stages.candidates, shop.plan, clock=shop.clock, aside=stages.aside)
    if summary["start_was_better"]:
        shop.note(start_was_better(stages.candidates, final), warning=True)
    write_json(shop.folder.summary, summary)


def _asked(settings: Settings | None, options: dict[str, Any]) -> Settings:
    if settings is not None and options:
        raise ImsegError(
            "Settings are given twice.",
            expected="settings=... or single fields, not both.",
            got=", ".join(options),
        )
    return settings or settings_from(options)


def default_out(data: str | Path | DataSet, asked: Settings) -> Path:
    """Return where a run goes if nothing else is said."""
    name = "arrays" if isinstance(data, DataSet) else Path(data).resolve().name
    return Path("runs") / f"{name}-{asked.approach}-seed{asked.seed}"


def _matched(plan: Plan, run: Run, facts: Facts, asked: Settings, *, progress: Progress) -> Plan:
    final = run.trained(run.summary["network"])
    if run.plan.generations and run.summary["stage"] == "start":
        text = f"{run.path} ended with its start: no unlabeled image was used. A comparison with it"
        progress(Note(text=f"{text} says nothing about unlabeled images.", warning=True))
    if asked.networks is None:
        # The best of as many: more networks to choose from would be an advantage.
        stage = next(s for s in run.summary["stages"] if s["name"] == run.summary["stage"])
        plan = replace(plan, start_networks=len(stage["networks"]))
    if asked.rotate is None:
        plan = replace(plan, rotate=run.plan.rotate)
    return match_plan(
        plan,
        matched=run.plan,
        steps=final.steps,
        width=final.network.width,
        labeled=facts.labeled,
    )


def _identify(
    folder: RunFolder,
    record: Record | None,
    asked: Settings,
    plan: Plan,
    dataset: DataSet,
    material: Material,
) -> None:
    """Write down what this run is, or check that it still is."""
    digests = material.digests
    if record is not None:
        check_same_target(folder, dataset)
        check_same_data(folder, record, digests)
        return
    named = Record(plain_settings(asked), plan, digests, dataset.name)
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
            entry = {"event": type(event).__name__, "at": passed, **asdict(event)}
            self._folder.write_log(entry)
        self._progress(event)
