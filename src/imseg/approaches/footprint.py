"""How much disk a run takes: by formula, from what it stores and from its networks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from imseg.approaches.measured import judge_of, network_of
from imseg.approaches.plan import Plan
from imseg.approaches.schedule import Facts, judge_rounds, planned_stages, unlabeled_used
from imseg.engine.memory import weight_bytes
from imseg.engine.networks import NetworkFactory
from imseg.types import DataSet

INDEX, INDEX_OF_ARRAY = 330, 200
"""Bytes that an index says about a stored image or target: its files, times and checksums."""
ABOUT_NETWORK = 1500
"""Bytes of a network's scores and description, and of the log's lines about it."""
OF_EPOCH = 60
"""Bytes that are written down about an epoch of a network."""
OF_RUN = 12_000
"""Bytes of settings, provenance and summary."""
OF_IMAGE = 160
"""Bytes of ``data.json`` about an image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """Bytes on the disk of the run folder."""

    pictures: int
    """Decoded images and masks."""
    pseudo_labels: int
    """Labels and inconsistency masks of all generations."""
    judges: int
    """What judges of masks learn from."""
    weights: int
    """Networks."""
    records: int
    """Scores, settings and the log."""

    @property
    def cache(self) -> int:
        """Bytes that are there only while a run goes on."""
        return self.pictures + self.pseudo_labels + self.judges

    @property
    def finished(self) -> int:
        """Bytes of the finished run."""
        return self.weights + self.records

    @property
    def most(self) -> int:
        """Bytes shortly before a run ends."""
        return self.cache + self.finished


def disk_of(
    plan: Plan,
    facts: Facts,
    data: DataSet,
    *,
    hidden: bool = False,
    factory: NetworkFactory | None = None,
) -> Disk:
    """Return how much a run takes on the disk, if no generation is left out.

    Args:
        plan: What will be done.
        facts: What the data is like.
        data: What masks are.
        hidden: Whether hidden masks are named.
        factory: The user's own network.
    """
    approach = plan.customized()
    height, width = plan.image_size
    image = height * width * facts.channels
    target = height * width * data.spec.planes * data.spec.dtype.itemsize
    mask = height * width
    labeled, unlabeled = facts.labeled + facts.validation, unlabeled_used(plan, facts)
    in_files = isinstance(data.labeled[0].image.pixels, Path)
    row = INDEX if in_files else INDEX_OF_ARRAY
    pictures = labeled * (image + target + 2 * row)
    if hidden and (approach.sees_truth or approach.pseudo_label is not None):
        pictures += unlabeled * (image + target + 2 * row)
    if approach.needs_unlabeled and not approach.labeled.hidden_too:
        pictures += unlabeled * (image + row)
    labels = 0
    if approach.pseudo_label is not None:
        labels = plan.generations * unlabeled * (target + mask)
    return Disk(
        pictures=pictures,
        pseudo_labels=labels,
        judges=_judges(plan, facts, data, target=target, mask=mask),
        weights=_weights(plan, facts, data, factory),
        records=_records(plan, facts, labeled + unlabeled * approach.needs_unlabeled),
    )


def _judges(plan: Plan, facts: Facts, data: DataSet, *, target: int, mask: int) -> int:
    """Return the bytes of ballots, of samples, and of the consensus about validation images."""
    approach = plan.customized()
    judged = any(stage.judges for stage in planned_stages(plan, facts))
    all_labeled = facts.labeled + facts.validation
    # Rows are those of the stored images, which are all in one store where none was set aside.
    stored = (facts.labeled, facts.validation) if data.val else (all_labeled, all_labeled)
    kept = 0
    if approach.judge is not None and judged:
        consensus = approach.judge.learns_from == "consensus"
        rounds = judge_rounds(plan, approach, approach.judge)
        networks = (rounds[0] - 1, rounds[1] - 1)
        if consensus:
            networks = (plan.start_networks, plan.start_networks)
        kept += sum(n * rows * target for n, rows in zip(networks, stored, strict=True))
        samples = rounds[0] * facts.labeled + rounds[1] * facts.validation
        kept += samples * (target + mask * consensus)
    oracle = approach.augment is not None and approach.augment.needs_truth
    if (oracle or (judged and not approach.carry)) and plan.thresholds is None:
        kept += stored[1] * (target + mask)
    return kept


def _weights(plan: Plan, facts: Facts, data: DataSet, factory: NetworkFactory | None) -> int:
    total = 0
    for stage in planned_stages(plan, facts):
        network = network_of(plan, facts, plan.width * stage.wider, factory)
        own = factory
        if stage.judges:
            network, own = judge_of(plan, facts, data.spec), None
        total += stage.networks * weight_bytes(network, factory=own)
    return total


def _records(plan: Plan, facts: Facts, images: int) -> int:
    networks = 0
    for stage in planned_stages(plan, facts):
        epochs = math.ceil(stage.steps / stage.epoch)
        networks += stage.networks * (ABOUT_NETWORK + OF_EPOCH * epochs)
    return OF_RUN + networks + images * OF_IMAGE
