"""Train an approach into a run folder: the heart of the Python interface."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from imseg.approaches.budget import Facts, make_plan, planned_steps
from imseg.approaches.catalog import find_approach
from imseg.approaches.generations import Generations
from imseg.approaches.material import Material, gather
from imseg.approaches.plan import Plan, match_plan
from imseg.approaches.record import (
    Record,
    check_same,
    check_same_data,
    plain_settings,
    read_record,
    write_record,
)
from imseg.approaches.run import Run, load_run
from imseg.approaches.settings import Settings, settings_from
from imseg.approaches.stage import Stage, summarize
from imseg.data.check import report_of
from imseg.data.folder import data_set_of, hidden_masks, scan
from imseg.data.image_io import probe
from imseg.data.splits import held_out
from imseg.engine.executors import Executor, choose_executor
from imseg.engine.lock import locked
from imseg.engine.networks import NetworkFactory, check_factory
from imseg.engine.progress import Event, Note, Planned, Progress, Stepped, Working, log_progress
from imseg.engine.runs import RunFolder, write_json
from imseg.errors import ImsegError
from imseg.types import DataSet

SAMPLED_FOR_SIZE = 50
"""Labeled images whose size is looked at to choose the working size."""


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
    dataset = data if isinstance(data, DataSet) else _read(Path(data), asked, progress)
    _check_fits(dataset, asked, matched)
    hidden = None
    if asked.unlabeled_masks is not None:
        hidden = hidden_masks(dataset, asked.unlabeled_masks)
    facts = _facts(dataset)
    plan = record.plan if record else _new_plan(asked, facts, dataset, matched, network, progress)
    if network is not None:
        check_factory(
            network,
            channels=dataset.channels,
            outputs=dataset.spec.outputs,
            width=plan.width,
            size=plan.image_size,
        )
    folder.open_for_writing()
    progress(Note(text=f"The run goes to {folder.path}"))
    began = time.monotonic()
    with locked(folder.path):
        material = gather(
            dataset,
            plan,
            folder=folder.cache,
            hidden=hidden,
            progress=progress,
        )
        _identify(folder, record, asked, plan, dataset, material)
        if folder.summary.exists():
            progress(Note(text=f"{folder.path} is already finished."))
        else:
            recorder = _Recorder(folder, progress)
            recorder(Planned(steps=planned_steps(plan, facts), first=True))
            if record is not None:
                progress(Note(text=f"It is continued: {_announcement(plan, facts, None)}"))
            own = executor or choose_executor(plan.numerics, workers=plan.workers, factory=network)
            with contextlib.nullcontext() if executor is not None else own:
                stages = Generations(
                    plan,
                    spec=dataset.spec,
                    channels=dataset.channels,
                    material=material,
                    folder=folder,
                    executor=own,
                    progress=recorder,
                    factory=network,
                    reuse=asked.reuse,
                ).run()
            _finish(folder, stages, plan, began, recorder)
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
        plan = _matched(plan, matched, facts, asked)
    spec = dataset.spec
    values = ", ".join(f"{v} = {n}" for v, n in zip(spec.values, spec.names, strict=True))
    void = "" if spec.void is None else f"; {spec.void} is void"
    progress(Note(text=f"{spec.kind} masks: {values}{void}"))
    progress(Note(text=_announcement(plan, facts, seconds)))
    return plan


def _finish(
    folder: RunFolder, stages: Sequence[Stage], plan: Plan, began: float, progress: Progress
) -> None:
    summary = summarize(stages, plan, began=began)
    if summary["start_was_better"]:
        progress(Note(text=_start_was_better(stages), warning=True))
    write_json(folder.summary, summary)


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


def _read(folder: Path, asked: Settings, progress: Progress) -> DataSet:
    def read(done: int, total: int) -> None:
        progress(Working(what="checking images", done=done, total=total))

    found = scan(folder, task=asked.task, progress=read)
    dataset = data_set_of(found)
    for warning in report_of(found).warnings:
        progress(Note(text=str(warning.as_error()), warning=True))
    return dataset


def _check_fits(dataset: DataSet, asked: Settings, matched: Run | None) -> None:
    """Check that the data has what the approach needs."""
    approach = find_approach(asked.approach)
    if approach.needs_unlabeled and not dataset.unlabeled:
        raise ImsegError(
            f"{approach.name} learns from unlabeled images, and {dataset.name} has none.",
            expected="images in unlabeled/ (no masks needed).",
            got="no unlabeled images.",
            hint=f"copy images into {dataset.name}/unlabeled/, or --approach ldt.",
        )
    if matched is not None and matched.spec.values != dataset.spec.values:
        raise ImsegError(
            f"{matched.path} was trained on other classes than {dataset.name} has.",
            expected=f"mask values {list(matched.spec.values)}.",
            got=f"mask values {list(dataset.spec.values)}.",
            hint="--match with a run on the same data.",
        )


def _facts(dataset: DataSet) -> Facts:
    sizes = []
    for pair in dataset.labeled[:SAMPLED_FOR_SIZE]:
        pixels = pair.image.pixels
        if isinstance(pixels, Path):
            info = probe(pixels)
            sizes.append((info.height, info.width))
        else:
            sizes.append((pixels.shape[0], pixels.shape[1]))
    height, width = np.median(np.array(sizes), axis=0).astype(int).tolist()
    labeled = len(dataset.labeled)
    return Facts(
        task=dataset.spec.kind,
        labeled=labeled if dataset.val else labeled - held_out(labeled),
        validation=len(dataset.val) or held_out(labeled),
        unlabeled=len(dataset.unlabeled),
        channels=dataset.channels,
        outputs=dataset.spec.outputs,
        typical_size=(height, width),
    )


def _matched(plan: Plan, run: Run, facts: Facts, asked: Settings) -> Plan:
    final = run.trained(run.summary["network"])
    if asked.networks is None:
        # The best of as many: more networks to choose from would be an advantage.
        stage = next(s for s in run.summary["stages"] if s["name"] == run.summary["stage"])
        plan = replace(plan, start_networks=len(stage["networks"]))
    return match_plan(
        plan,
        matched=run.plan,
        steps=final.steps,
        width=final.network.width,
        labeled=facts.labeled,
    )


def _announcement(plan: Plan, facts: Facts, seconds: float | None) -> str:
    """Return one sentence about what is going to happen."""
    stages = f"{plan.start_networks} networks"
    if plan.generations:
        stages += f", then {plan.generations} x {plan.networks}"
    each = planned_steps(plan, facts) // (plan.start_networks + plan.generations * plan.networks)
    text = (
        f"{plan.approach}: {stages} of width {plan.width:g} at {plan.image_size[0]}x"
        f"{plan.image_size[1]} px, about {each} steps each, seed {plan.seed}, {plan.precision},"
        f" {plan.workers} side by side on {plan.device}."
    )
    if seconds is not None:
        minutes = max(1, round(seconds * 1.15 / 60))
        text += f" Measured on this machine, that takes about {minutes} min."
    return text


def _start_was_better(stages: Sequence[Stage]) -> str:
    start, best = stages[0].best, max(stage.best.scores["iou"] for stage in stages[1:])
    return (
        f"on validation no generation is better than the start ({best:.3f} against"
        f" {start.scores['iou']:.3f}): unlabeled images have not helped here. The network of the"
        f" run is that of the best generation; --network {start.name} evaluates the other."
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
