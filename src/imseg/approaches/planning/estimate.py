"""How much disk a run takes: by formula, from what it stores and from its networks."""

import math
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from imseg.approaches.planning import duration
from imseg.approaches.planning.budget import CONTEXT, fits_time
from imseg.approaches.planning.decoding_time import decoding_seconds
from imseg.approaches.planning.plan import Facts, Plan
from imseg.approaches.planning.settings import Settings
from imseg.approaches.planning.stage_plan import StagePlan, planned_stages, planned_steps
from imseg.approaches.running.preparation import MEASURING, Prepared, asked_for, prepare
from imseg.approaches.runs.record import check_same_target
from imseg.engine.hardware import device as machine
from imseg.errors import ImsegError, shown
from imseg.networks.registry import NetworkFactory
from imseg.progress import Note, Progress, log_progress
from imseg.types import DataSet

INDEX, INDEX_OF_ARRAY = 330, 200
"""Bytes that an index says about a stored image or target: its files, times and checksums."""
ABOUT_NETWORK = 1500
"""Bytes of a network's scores and description, and of the log's lines about it."""
OF_EPOCH = 60
"""Bytes that are written down about an epoch of a network."""
OF_RUN = 12_000
"""Bytes of settings, provenance and summary."""
OF_IMAGE = 860
"""Bytes of ``data.json`` and ``facts.json`` about an image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """Bytes on the disk of the run folder."""

    pictures: int
    """Decoded images and masks."""
    pseudo_labels: int
    """Labels and inconsistency masks of all generations."""
    scorers: int
    """What mask scorers learn from."""
    weights: int
    """Networks."""
    records: int
    """Scores, settings and the log."""

    @property
    def cache(self) -> int:
        """Bytes that are there only while a run goes on."""
        return self.pictures + self.pseudo_labels + self.scorers

    @property
    def finished(self) -> int:
        """Bytes of the finished run."""
        return self.weights + self.records

    @property
    def most(self) -> int:
        """Bytes shortly before a run ends."""
        return self.cache + self.finished


def disk_of(plan: Plan, facts: Facts, data: DataSet, *, hidden: bool = False) -> Disk:
    """Return how much a run takes on the disk, if no generation is left out.

    Args:
        plan: What will be done.
        facts: What the data is like.
        data: What masks are.
        hidden: Whether hidden masks are named.
    """
    approach, (height, width), facts = plan.approach, plan.row_size, plan.in_tiles(facts)
    teaches = approach.pseudo_label is not None
    image = height * width * facts.channels
    mask = height * width
    target = mask * data.spec.planes * data.spec.dtype.itemsize
    labeled, unlabeled = facts.labeled + facts.validation, plan.unlabeled_used(facts)
    row = INDEX if isinstance(data.labeled[0].image.pixels, Path) else INDEX_OF_ARRAY
    pictures = labeled * (image + target + 2 * row)
    if hidden and (approach.sees_truth or teaches):
        pictures += unlabeled * (image + target + 2 * row)
    if approach.needs_unlabeled and not approach.labeled.hidden_too:
        pictures += unlabeled * (image + row)
    weights, records = 0, OF_RUN + OF_IMAGE * (labeled + unlabeled * approach.needs_unlabeled)
    for stage in planned_stages(plan, facts):
        one = machine.weight_bytes(stage.network, channels=facts.channels, outputs=facts.outputs)
        epochs = math.ceil(stage.steps / stage.workload.epoch)
        weights += stage.networks * one
        records += stage.networks * (ABOUT_NETWORK + OF_EPOCH * epochs)
    return Disk(
        pictures=pictures,
        pseudo_labels=teaches * approach.generations * unlabeled * (target + mask),
        scorers=_scorers(plan, facts, data, target=target, mask=mask),
        weights=weights,
        records=records,
    )


def _scorers(plan: Plan, facts: Facts, data: DataSet, *, target: int, mask: int) -> int:
    """Return the bytes of predictions, of samples, and of the consensus about validation images."""
    approach = plan.approach
    scored = any(stage.scores_masks for stage in planned_stages(plan, facts))
    all_labeled = facts.labeled + facts.validation
    # Rows are those of the stored images, which are all in one store where none was set aside.
    stored = (facts.labeled, facts.validation) if data.val else (all_labeled, all_labeled)
    kept = 0
    if approach.scorer is not None and scored:
        consensus, rounds = approach.scorer.learns_from == "consensus", plan.scorer_rounds
        networks = [approach.first.networks if consensus else each - 1 for each in rounds]
        kept += sum(n * rows * target for n, rows in zip(networks, stored, strict=True))
        samples = rounds[0] * facts.labeled + rounds[1] * facts.validation
        kept += samples * (target + mask * consensus)
    oracle = approach.amplification is not None and approach.amplification.needs_truth
    if (oracle or (scored and not approach.carry)) and approach.thresholds is None:
        kept += stored[1] * (target + mask)
    return kept


BARE_PROCESS = 360 * 2**20
"""Bytes of a training process before it trains: Python, PyTorch and what it sets up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes of memory at the same time, and what is free."""

    process: int | None
    """The peak of one training process without stored images; None for a user's own network that
    was not measured."""
    processes: int
    """How many of them train at once."""
    images: int
    """Stored images and masks, which all processes share."""
    command: int
    """The command itself where others train; else 0."""
    free: int | None
    """What programs here can still get; None if the system does not say."""
    device: int | None
    """The peak of all of them on a GPU; None where there is none, or it was not measured."""
    device_free: int | None
    """What is free there."""

    @property
    def one(self) -> int | None:
        """The peak of one training process with what it shares, as systems show it."""
        return None if self.process is None else self.process + self.images

    @property
    def total(self) -> int | None:
        """The peak of all at the same time."""
        if self.process is None:
            return None
        return self.processes * self.process + self.images + self.command

    @property
    def fits(self) -> bool:
        """Whether there is enough, as far as is known."""
        needs = ((self.total, self.free), (self.device, self.device_free))
        return all(need is None or free is None or need <= free for need, free in needs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a training would take."""

    run: Path
    """Where it would go."""
    plan: Plan
    """What would be done."""
    stages: tuple[StagePlan, ...]
    """What would be trained, if nothing is left out."""
    steps_depend_on_time: bool
    """Whether steps are the most that there can be, because they were to be fitted to a budget of
    time and nothing was measured."""
    time: dict[str, float] | None
    """Seconds by activity, named as in ``summary.json``; None if nothing was measured."""
    memory: Memory
    """Of all processes."""
    disk: Disk
    """Of the run folder."""
    disk_free: int
    """Bytes that are free where the run folder would be."""

    @property
    def seconds(self) -> float | None:
        """Seconds in all."""
        return None if self.time is None else sum(self.time.values())

    @property
    def disk_fits(self) -> bool:
        """Whether there is room for the run."""
        return self.disk.most <= self.disk_free

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        memory, disk = self.memory, self.disk
        return {
            "run": str(self.run),
            "plan": self.plan.as_dict(),
            "stages": [_named(each, "name", "networks", "steps", "width") for each in self.stages],
            "steps": planned_steps(self.stages),
            "steps_depend_on_time": self.steps_depend_on_time,
            "time": None if self.time is None else {k: round(v, 2) for k, v in self.time.items()},
            "seconds": None if self.seconds is None else round(self.seconds, 2),
            "memory": {**asdict(memory), **_named(memory, "one", "total", "fits")},
            "disk": {
                **asdict(disk),
                **_named(disk, "cache", "finished", "most"),
                "free": self.disk_free,
                "fits": self.disk_fits,
            },
        }


def _named(values: object, *names: str) -> dict[str, Any]:
    return {name: getattr(values, name) for name in names}


def estimate(
    data: str | Path | DataSet,
    *,
    out: str | Path | None = None,
    settings: Settings | None = None,
    network: NetworkFactory | str | None = None,
    progress: Progress = log_progress,
    probe: bool = True,
    **options: Any,
) -> Estimate:
    """Return what ``fit`` with the same arguments would take. Nothing is written.

    Args:
        data: As in ``fit``.
        out: The run folder, which is not made.
        settings: What to do; or give its fields as keyword arguments.
        network: The user's own network.
        progress: Told what is found.
        probe: Whether a few steps are made and a few pictures decoded to see what they cost; else
            there is no time, and memory is by formula.
        options: Fields of ``Settings``.

    Raises:
        ImsegError: As ``fit`` does before it decodes all images.
    """
    asked = asked_for(settings, options, network)
    ready = prepare(data, asked, out=out, progress=progress, probe=probe)
    if ready.record is not None:
        check_same_target(ready.folder, ready.dataset)
        begun = "is already finished" if ready.folder.summary.exists() else "is begun"
        text = f"{ready.folder.path} {begun}: what follows is for all of it, as if it were new."
        progress(Note(text=text))
    plan, facts, measured, spent = ready.plan, ready.facts, ready.measured, None
    if probe:
        # Before the networks are measured: their processes would be beside it.
        files = decoding_of_run(ready)
        if measured is None:
            progress(Note(text=MEASURING))
            measured = duration.measure(plan, facts, ready.dataset.spec)
        spent = duration.durations(plan, facts, measured) | {duration.FILES: files}
    disk = disk_of(plan, facts, ready.dataset, hidden=ready.hidden_pairs is not None)
    return Estimate(
        run=ready.folder.path,
        plan=plan,
        stages=tuple(planned_stages(plan, facts)),
        steps_depend_on_time=not probe and ready.record is None and fits_time(ready.asked),
        time=spent,
        memory=_memory(ready, disk, measured),
        disk=disk,
        disk_free=free_disk(ready.folder.path),
    )


def check_room(ready: Prepared) -> None:
    """Check that what is stored while a run goes on fits onto the disk, where images are cut.

    Raises:
        ImsegError: If it does not.
    """
    if ready.record is not None or ready.plan.tiles is None:
        return
    hidden = ready.hidden_pairs is not None
    needed = disk_of(ready.plan, ready.facts, ready.dataset, hidden=hidden).most
    free = free_disk(ready.folder.path)
    if needed > free:
        raise ImsegError(
            f"The disk of {shown(ready.folder.path)} has not enough room.",
            expected=f"about {needed / 1e9:.1f} GB while the run goes on, for images at scale"
            f" {ready.plan.tiles.scale:.2g}.",
            got=f"{free / 1e9:.1f} GB free.",
            hint="--out on another disk, --limit-unlabeled, a smaller --scale, or --whole-image.",
        )


def decoding_of_run(ready: Prepared) -> float:
    """Return how long decoding takes, from a few pictures spread over all."""
    return decoding_seconds(ready.dataset, ready.plan, ready.hidden_pairs)


def free_disk(path: Path) -> int:
    """Return the free bytes of the disk that a folder is on, or would be on."""
    there = next(each for each in (path, *path.absolute().parents) if each.exists())
    return shutil.disk_usage(there).free


def _memory(ready: Prepared, disk: Disk, measured: duration.Measured | None) -> Memory:
    """Return the memory of a run: as measured, or else by the formula of ``training_bytes``."""
    plan, facts = ready.plan, ready.facts
    here = plan.compute.device != "cpu" or plan.workers == 1
    needed = duration.needed_bytes(plan, facts)
    process = None if needed is None else BARE_PROCESS + needed
    device = None
    if plan.compute.device != "cpu":
        process, device = machine.memory_now(), needed
    if measured is not None:
        process = measured.memory
        device = measured.device_memory or device
    processes = duration.side_by_side(plan, planned_stages(plan, facts))
    if device is not None:
        device = processes * (device + (CONTEXT if processes > 1 else 0))
    return Memory(
        process=process,
        processes=processes,
        # They are read from files, but stay in memory as long as there is room.
        images=disk.pictures,
        command=0 if here else machine.memory_now(),
        free=machine.available_memory(),
        device=device,
        device_free=machine.free_device_memory(plan.compute.device),
    )
