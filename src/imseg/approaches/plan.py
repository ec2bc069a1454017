"""What will be done: every number of a run, settled before training starts."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from typing import Any

from imseg.approaches.approach import Approach
from imseg.approaches.catalog import find_approach
from imseg.approaches.settings import Blocking, Effort, Selection
from imseg.engine.device import (
    Numerics,
    Precision,
)
from imseg.engine.job import Recipe
from imseg.ops.photometric import LADDERS, Strength
from imseg.stages.pseudo_label import Block
from imseg.stages.select import Everything, ForegroundExceedsInconsistency, SameClasses, Select

SELECTIONS: dict[Selection, Select] = {
    "paper": ForegroundExceedsInconsistency(),
    "same-classes": SameClasses(),
    "all": Everything(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will be done; written to the run and kept when it is continued."""

    approach: str
    effort: Effort
    paper: bool
    seed: int
    task: str
    generations: int
    teachers: int
    start_networks: int
    networks: int
    epochs: int
    max_steps: int | None
    image_size: tuple[int, int]
    width: float
    batch_size: int
    limit_unlabeled: int | None
    erode: int
    dilate: int
    blocking: Blocking
    ignore: bool
    select: Selection
    ladder: str
    rotate: bool
    device: str
    precision: Precision
    threads: int
    workers: int
    channels_last: bool
    matched_steps: int | None = None

    @property
    def recipe(self) -> Recipe:
        """How each network is trained."""
        return Recipe(
            epochs=self.epochs,
            max_steps=self.max_steps,
            batch_size=self.batch_size,
            paper=self.paper,
        )

    @property
    def strength(self) -> Strength:
        """How far labeled images are pushed: the last rung of the ladder."""
        return LADDERS[self.ladder][-1]

    @property
    def numerics(self) -> Numerics:
        """How one network is trained."""
        return Numerics(
            device=self.device,
            precision=self.precision,
            threads=self.threads,
            channels_last=self.channels_last,
        )

    @property
    def whole_machine(self) -> Numerics:
        """How teachers predict: one after the other, with all threads."""
        return replace(self.numerics, threads=self.threads * self.workers)

    def customized(self) -> Approach:
        """Return the approach with this plan's numbers in its stages."""
        approach = find_approach(self.approach)
        start = approach.start and replace(approach.start, networks=self.start_networks)
        networks = self.networks if approach.start else self.start_networks
        if approach.pseudo_label is None:
            return replace(approach, networks=networks)
        consensus = replace(
            approach.pseudo_label,
            teachers=self.teachers,
            erode=self.erode,
            dilate=self.dilate,
            grow_labels=self.paper and self.erode > 0,
            block=Block(
                input=self.blocking in ("both", "input"),
                output=self.blocking in ("both", "output"),
                ignore=self.ignore,
            ),
        )
        return replace(
            approach,
            networks=networks,
            start=start,
            generations=self.generations,
            pseudo_label=consensus,
            select=SELECTIONS[self.select],
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values without the empty ones, for TOML."""
        plain = dataclasses.asdict(self)
        plain["image_size"] = list(self.image_size)
        return {name: value for name, value in plain.items() if value is not None}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Plan:
        """Return the plan that ``as_dict`` wrote."""
        empty = {"max_steps": None, "limit_unlabeled": None, "matched_steps": None}
        before = {"ladder": "default", "rotate": False}  # runs from before there were copies
        height, width = plain["image_size"]
        return cls(**{**empty, **before, **plain, "image_size": (height, width)})


def match_plan(plan: Plan, *, matched: Plan, steps: int, width: float, labeled: int) -> Plan:
    """Return the plan of a baseline with the steps and width of another run's final network.

    Args:
        plan: The baseline's own plan.
        matched: The plan of the run it is matched to; image size and batch size are taken over.
        steps: Optimizer steps of its final network.
        width: Width of its final network.
        labeled: Labeled images the baseline is trained on.
    """
    settled = replace(
        plan,
        width=width,
        image_size=matched.image_size,
        batch_size=matched.batch_size,
        paper=matched.paper,
        matched_steps=steps,
        max_steps=steps,
    )
    samples = labeled * find_approach(plan.approach).labeled.samples
    in_epoch = settled.recipe.steps_per_epoch(samples)
    return replace(settled, epochs=-(-steps // in_epoch))
