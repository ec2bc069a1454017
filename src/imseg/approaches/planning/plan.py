"""What will be done: every number of a run, settled before training starts."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, replace
from typing import Any

from pydantic import TypeAdapter

from imseg.approaches.methods.approach import Approach, Labeled, with_options
from imseg.approaches.methods.catalog import find_approach
from imseg.approaches.methods.paper import PAPER, PaperSettings, Published, nearest_published
from imseg.approaches.planning.settings import LARGEST_SIDE, Blocking, Effort, Selection
from imseg.components.consensus import Block
from imseg.components.consistency import Level
from imseg.components.selection import Everything, SameClasses, Select
from imseg.engine.hardware.device import ComputeConfig, Precision
from imseg.engine.training.job import Recipe
from imseg.ops.inconsistency import BlockColor
from imseg.ops.photometric import Strength
from imseg.tasks.base import Pool
from imseg.types import Kind

SELECTIONS: dict[Selection, Select] = {"same-classes": SameClasses(), "all": Everything()}
"""What goes before an approach's own rule; ``paper`` is that rule."""

LOOK_COST = 1 / 3
"""What looking at an image costs, as a share of what learning from it does: a pass forward."""
LOOK_SHARE = 0.1
"""The most that looks at validation images may cost, as a share of what learning does."""

WIDTH_STEP = 0.25
"""How much wider networks are in each generation where they grow; the paper's alpha."""

_MOST_WORKERS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will be done; written to the run and kept when it is continued."""

    approach: str
    effort: Effort
    paper: bool
    seed: int
    task: Kind
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
    published: Published | None = None
    patience: int = 0
    grow_labels: bool = False
    vote: Pool | None = None
    views: int | None = None
    plain_view: bool | None = None
    judges: int | None = None
    thresholds: tuple[float, float] | None = None
    consistency_weight: float | None = None
    consistency_ramp: int | None = None
    consistency_level: Level | None = None
    compile: bool = False
    block_color: BlockColor = "black"
    reblock: bool | None = None
    fresh_copies: bool = False
    rung: int | None = None
    validate_every: int = 1  # 0: as few looks as let them take a tenth of the time

    @property
    def recipe(self) -> Recipe:
        """How each network is trained."""
        return Recipe(
            epochs=self.epochs,
            max_steps=self.max_steps,
            batch_size=self.batch_size,
            paper=self.paper,
        )

    def looked_at(self, recipe: Recipe, *, samples: int, validation: int) -> Recipe:
        """Return a recipe with as many looks at the validation images as the plan wants.

        Args:
            recipe: Any.
            samples: Training samples in an epoch.
            validation: Images or masks that are looked at.
        """
        every = self.validate_every
        if not every:
            look = validation * LOOK_COST
            every = max(1, math.ceil(look / (LOOK_SHARE * samples))) if samples else 1
        return replace(recipe, validate_every=every)

    @property
    def strengths(self) -> PaperSettings:
        """The published settings from which strengths are taken."""
        return PAPER[self.published or nearest_published(self.ladder, self.task)]

    @property
    def paper_settings(self) -> PaperSettings | None:
        """The published settings that were asked for; None where there are none."""
        return PAPER[self.published] if self.published else None

    @property
    def strength(self) -> Strength:
        """How far labeled images are pushed: the last rung of the ladder."""
        return self.strengths.labeled_copies

    @property
    def takes_last(self) -> bool:
        """Whether the network of the run is that of the last generation, as in the paper."""
        return self.paper and not self.patience

    @property
    def least_share(self) -> float:
        """Share of the full training set's steps that an epoch of a generation has at least."""
        if not self.paper:
            return 0.0
        settings = self.paper_settings
        shares = settings.least_share if settings else {"gt-im++": 1.0}
        return shares.get(self.approach, 0.0)

    @property
    def moves_pairs(self) -> bool:
        """Whether the two views of Consistency Loss are flipped or turned, both alike.

        METHOD: binary and multilabel; others only where turning was asked for.
        """
        return self.rotate or self.task in ("binary", "multilabel")

    def strength_in(self, generation: int) -> Strength:
        """Return how far copies of pseudo-labeled images are pushed in a generation, from 1."""
        ladder = self.strengths.ladder
        return ladder[min(self.rung or generation, len(ladder)) - 1]

    def width_in(self, generation: int, *, growing: bool) -> float:
        """Return how wide networks are in a generation, from 1."""
        if not growing:
            return self.width
        settings = self.paper_settings
        if settings is not None and self.width == settings.widths[0]:
            return settings.widths[min(generation, len(settings.widths)) - 1]
        return self.width + WIDTH_STEP * (generation - 1)

    @property
    def judge_width(self) -> float:
        """How wide judges of masks are: twice the base, as in the paper."""
        settings = self.paper_settings
        if settings is not None and self.width == settings.widths[0]:
            return settings.judge_width
        return 2 * self.width

    @property
    def compute(self) -> ComputeConfig:
        """How one network is trained."""
        return ComputeConfig(
            device=self.device,
            precision=self.precision,
            threads=self.threads,
            channels_last=self.channels_last,
            compile=self.compile,
        )

    @property
    def whole_machine(self) -> ComputeConfig:
        """How teachers predict: one after the other, with all threads."""
        return replace(self.compute, threads=self.threads * self.workers)

    def customized(self) -> Approach:
        """Return the approach with this plan's numbers in its stages."""
        approach = find_approach(self.approach)
        first = {
            name: replace(one, networks=self.start_networks, labeled=self._labeled(one))
            for name in ("start", "judge_start")
            if (one := getattr(approach, name)) is not None
        }
        networks = self.networks if approach.start else self.start_networks
        stages = {
            name: with_options(stage, self.stage_options)
            for name in ("pseudo_label", "augment", "objective")
            if (stage := getattr(approach, name)) is not None
        }
        return replace(
            approach,
            networks=networks,
            labeled=self._labeled(approach),
            generations=self.generations,
            select=SELECTIONS.get(self.select, approach.select),
            **first,
            **stages,
        )

    def _labeled(self, approach: Approach) -> Labeled:
        """Return how an approach uses labeled images."""
        fresh = self.fresh_copies and approach.labeled.copies > 0
        return replace(approach.labeled, fresh=fresh)

    @property
    def stage_options(self) -> dict[str, Any]:
        """The options of stages; those that are not given keep a stage's own value."""
        block = Block(
            input=self.blocking in ("both", "input"),
            output=self.blocking in ("both", "output"),
            ignore=self.ignore,
            color=self.block_color,
        )
        given = {
            "teachers": self.teachers or None,
            "erode": self.erode,
            "dilate": self.dilate,
            "grow_labels": self.grow_labels,
            "block": block,
            # What a schedule does by itself leaves no trace in jobs.
            "reblock": None if self.reblock == (not self.paper) else self.reblock,
            "fresh_copies": self.fresh_copies,
            "rung": self.rung,
            "vote": self.vote,
            "views": self.views,
            "plain_view": self.plain_view,
            "judges": self.judges,
            "accepts": self.paper_settings.accepts if self.paper_settings else None,
            "consistency_weight": self.consistency_weight,
            "consistency_ramp": self.consistency_ramp,
            "consistency_level": self.consistency_level,
        }
        return {name: value for name, value in given.items() if value is not None}

    def as_dict(self) -> dict[str, Any]:
        """Return plain values without the empty ones, for TOML."""
        plain = dataclasses.asdict(self)
        for name in ("image_size", "thresholds"):
            plain[name] = list(plain[name]) if plain[name] is not None else None
        return {name: value for name, value in plain.items() if value is not None}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Plan:
        """Return the plan that ``as_dict`` wrote.

        Raises:
            ValueError: If it is no such plan.
        """
        values: dict[str, Any] = {"max_steps": None, "limit_unlabeled": None}
        values |= {"ladder": "default", "rotate": False}  # in runs from before there were copies
        values |= plain
        unknown = set(values) - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise ValueError(f"unknown settings: {', '.join(sorted(unknown))}")
        plan = TypeAdapter(cls).validate_python(values)
        if not 0 < min(plan.image_size) <= max(plan.image_size) <= LARGEST_SIDE:
            raise ValueError(f"images of {plan.image_size} pixels")
        if max(plan.workers, plan.threads) > _MOST_WORKERS or plan.workers < 1:
            raise ValueError(f"{plan.workers} workers of {plan.threads} threads")
        return plan


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
        published=plan.published or matched.published,
        ladder=matched.ladder if plan.ladder == "default" else plan.ladder,
        matched_steps=steps,
        max_steps=steps,
    )
    samples = labeled * find_approach(plan.approach).labeled.samples
    in_epoch = settled.recipe.steps_per_epoch(samples)
    return replace(settled, epochs=-(-steps // in_epoch))
