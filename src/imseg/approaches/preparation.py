"""Everything before anything is written: what is asked for, read and checked, and planned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from imseg.approaches.announce import announce_plan
from imseg.approaches.budget import make_plan
from imseg.approaches.compiling import may_pay, pays
from imseg.approaches.duration import seconds_of
from imseg.approaches.intake import check_facts, check_fits, check_paths, facts_of, read_data
from imseg.approaches.measured import Measured, measure
from imseg.approaches.news import tell_news
from imseg.approaches.plan import Plan, match_plan
from imseg.approaches.record import Record, check_same, read_record
from imseg.approaches.run import Run, load_run
from imseg.approaches.schedule import Facts
from imseg.approaches.settings import Settings, settings_from
from imseg.data.encoding import describe_values
from imseg.data.folder import hidden_masks
from imseg.data.listing import short_name
from imseg.data.recognize import word_of
from imseg.engine.networks import NetworkFactory, check_factory
from imseg.engine.progress import Note, Progress
from imseg.engine.runs import RunFolder
from imseg.errors import ImsegError
from imseg.types import DataSet, LabeledImage

ALONE = (
    "changes nothing here: networks of your own, and networks on this device, are trained one after"
    " the other."
)
COMPILING = "finding out whether compiling pays for itself, a minute at most ..."
"""Said before some more."""
MEASURING = "measuring what a few steps cost on this machine ..."
"""Said before some seconds in which nothing else is."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A training that could begin now."""

    asked: Settings
    """What was asked for."""
    folder: RunFolder
    """Where it goes."""
    record: Record | None
    """What an earlier call of the same command wrote down; None if the run is new."""
    dataset: DataSet
    """What there is to learn from."""
    hidden_pairs: tuple[LabeledImage, ...] | None
    """Unlabeled images with their hidden masks, if those are named."""
    facts: Facts
    """The same, counted."""
    plan: Plan
    """What will be done."""
    measured: Measured | None
    """What was measured to fit the plan to a budget of time; None: nothing."""
    network: NetworkFactory | None
    """The user's own network."""


def prepare(
    data: str | Path | DataSet,
    *,
    out: str | Path | None,
    settings: Settings | None,
    options: dict[str, Any],
    network: NetworkFactory | None,
    progress: Progress,
    probe: bool = True,
) -> Prepared:
    """Return a training that could begin now; nothing is written.

    Args:
        data: A folder, or a data set made otherwise.
        out: The run folder; None for the default.
        settings: What to do.
        options: The same as fields of ``Settings``.
        network: The user's own network.
        progress: Told what is found.
        probe: Whether costs are measured where the plan depends on them.

    Raises:
        ImsegError: For everything the user can mend, as far as it shows before images are decoded.
    """
    asked = _asked(settings, options)
    matched = load_run(asked.match) if asked.match is not None else None
    folder = RunFolder(Path(out if out is not None else default_out(data, asked)))
    check_paths([data, folder.path, asked.match, asked.unlabeled_masks, asked.reuse])
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
    measured = None
    if record is not None:
        plan = record.plan
    else:
        plan, measured = _new_plan(
            asked, facts, dataset, matched=matched, network=network, progress=progress, probe=probe
        )
    if network is not None:
        check_factory(
            network,
            channels=dataset.reading.channels,
            outputs=dataset.spec.outputs,
            width=plan.width,
            size=plan.image_size,
        )
    return Prepared(
        asked=asked,
        folder=folder,
        record=record,
        dataset=dataset,
        hidden_pairs=hidden,
        facts=facts,
        plan=plan,
        measured=measured,
        network=network,
    )


def default_out(data: str | Path | DataSet, asked: Settings) -> Path:
    """Return where a run goes if nothing else is said."""
    name = "arrays" if isinstance(data, DataSet) else short_name(Path(data))
    return Path("runs") / f"{name}-{asked.approach}-seed{asked.seed}"


def _asked(settings: Settings | None, options: dict[str, Any]) -> Settings:
    if settings is not None and options:
        raise ImsegError(
            "Settings are given twice.",
            expected="settings=... or single fields, not both.",
            got=", ".join(options),
        )
    return settings or settings_from(options)


def _new_plan(
    asked: Settings,
    facts: Facts,
    dataset: DataSet,
    *,
    matched: Run | None,
    network: NetworkFactory | None,
    progress: Progress,
    probe: bool,
) -> tuple[Plan, Measured | None]:

    def costs(plan: Plan) -> Measured:
        progress(Note(text=MEASURING))
        return measure(plan, facts, dataset.spec, network)

    plan, measured = make_plan(asked, facts, factory=network, measure=costs if probe else None)
    if matched is not None:
        plan = _matched(plan, matched, facts, asked, progress=progress)
    if asked.compile == "auto" and probe and matched is None and may_pay(plan, facts):
        progress(Note(text=COMPILING))
        plan = replace(plan, compile=pays(plan, facts, dataset.spec, network))
    if asked.workers is not None and asked.workers > plan.workers:
        progress(Note(text=f"--workers {asked.workers} {ALONE}", warning=True))
    word = word_of(dataset.spec)
    progress(Note(text=f"{word} masks: {describe_values(dataset.spec).rstrip('.')}"))
    seconds = None if measured is None else seconds_of(plan, facts, measured)
    progress(Note(text=announce_plan(plan, facts, seconds)))
    return plan, measured


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
    if asked.validate_every is None:
        plan = replace(plan, validate_every=run.plan.validate_every)
    if asked.compile == "auto":
        plan = replace(plan, compile=run.plan.compile)
    return match_plan(
        plan,
        matched=run.plan,
        steps=final.steps,
        width=final.network.width,
        labeled=facts.labeled,
    )
