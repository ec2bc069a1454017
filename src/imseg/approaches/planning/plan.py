"""What will be done: every number of a run, settled before training starts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from imseg.approaches.methods.approach import Approach
from imseg.approaches.methods.paper import PAPER, PaperSettings, Published, nearest_published
from imseg.approaches.planning.settings import LARGEST_SIDE, Effort
from imseg.components.amplification import MaskScorer, enough_for_scorers
from imseg.components.votes import VoteOfViews
from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.loading.samples import Copies, InitialWeights, SampleSet, UnlabeledViews
from imseg.engine.training import seeds
from imseg.engine.training.job import TrainJob
from imseg.engine.training.objectives.mask_quality import MaskQuality
from imseg.engine.training.objectives.objective import Amounts, Objective, ViewStrengths, Workload
from imseg.engine.training.recipe import Recipe
from imseg.networks.registry import EvalNetConfig, Network
from imseg.ops.augment import UNMOVED, Move, moves_for
from imseg.ops.photometric import Strength
from imseg.options import STRICT
from imseg.tasks.quality import heads_for
from imseg.types import Kind, Modality, TargetSpec

WIDTH_STEP = 0.25
"""How much wider networks are in each generation where they grow; the paper's alpha."""
_MOST_WORKERS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a plan needs to know about the data."""

    task: Kind
    """The kind of target."""
    labeled: int
    """Labeled images that are trained on."""
    validation: int
    """Images that are chosen by."""
    unlabeled: int
    """Unlabeled images."""
    channels: int
    """Image channels."""
    outputs: int
    """Network outputs."""
    typical_size: tuple[int, int]
    """Median height and width of the labeled images in pixels."""
    modality: Modality = "photograph"
    """What most of the labeled images are."""
    narrow: float | None = None
    """The width that a tenth of the labeled objects stay below, as a share of the longer side of an
    image; None: not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will be done; written to the run and kept when it is continued."""

    __pydantic_config__ = STRICT

    approach: Approach
    """The approach with every number settled, in its components too."""
    effort: Effort
    """The budget that was asked for."""
    published: Published | None = None
    """The paper's data set whose settings were asked for; None for none."""
    seed: int
    """The root of all randomness."""
    task: Kind
    """What masks hold."""
    image_size: tuple[int, int]
    """Height and width in pixels at which networks work."""
    limit_unlabeled: int | None = None
    """Unlabeled images that are used at most; None: all."""
    compute: ComputeConfig
    """How one network is trained."""
    workers: int = 1
    """Networks trained side by side."""
    matched_steps: int | None = None
    """Optimizer steps of the network that a baseline is matched to; None where it is not."""
    tta: bool = False
    """Whether predictions are averaged over flipped images: those that become pseudo-labels, and by
    default those for use. Validation in a training has none."""

    @property
    def recipe(self) -> Recipe:
        """How each network is trained."""
        return self.approach.recipe

    @property
    def network(self) -> Network:
        """Which network; where networks grow, that of the start."""
        return self.approach.network

    @property
    def paper(self) -> bool:
        """Whether the paper's schedule is followed."""
        return self.recipe.paper

    @property
    def teachers(self) -> int:
        """Networks that label images together; 0 where all do, or none does."""
        labeler = self.approach.pseudo_label
        return 0 if labeler is None else labeler.teachers or 0

    @property
    def strengths(self) -> PaperSettings:
        """The published settings from which strengths are taken."""
        schedule = self.recipe.augmentation.strength_schedule
        return PAPER[self.published or nearest_published(schedule, self.task)]

    @property
    def paper_settings(self) -> PaperSettings | None:
        """The published settings that were asked for; None where there are none."""
        return PAPER[self.published] if self.published else None

    @property
    def rotate(self) -> bool:
        """Whether augmented images are also rotated and flipped upside down."""
        return bool(self.recipe.augmentation.rotate)

    def moves(self, tta: bool | None = None) -> tuple[Move, ...]:
        """Return the positions in which a network sees an image: as it is, or flipped and turned.

        Args:
            tta: Whether its predictions are averaged over all that there are; None: as the plan
                has it.
        """
        height, width = self.image_size
        wanted = self.tta if tta is None else tta
        return moves_for(rotate=self.rotate, square=height == width) if wanted else UNMOVED

    @property
    def teacher_moves(self) -> tuple[Move, ...]:
        """The positions in which teachers see an image that they label.

        Where views vote, they are the positions.
        """
        return self.moves(tta=self.tta and not isinstance(self.approach.pseudo_label, VoteOfViews))

    @property
    def takes_last(self) -> bool:
        """Whether the network of the run is that of the last generation, as in the paper."""
        return self.paper and not self.approach.patience

    @property
    def least_share(self) -> float:
        """Share of the full training set's steps that an epoch of a generation has at least."""
        if not self.paper:
            return 0.0
        settings = self.paper_settings
        shares = settings.least_share if settings else {"gt-im++": 1.0}
        return shares.get(self.approach.name, 0.0)

    @property
    def moves_views(self) -> bool:
        """Whether the two views of unlabeled images are flipped or rotated, both alike.

        METHOD: binary and multilabel; others only where rotation was asked for.
        """
        return self.rotate or self.task in ("binary", "multilabel")

    def strength_in(self, generation: int) -> Strength | None:
        """Return how far copies of pseudo-labeled images are pushed in a generation, from 1.

        None where they are the images themselves, which are augmented at every look.
        """
        if self.recipe.augmentation.level != "paper":
            return None
        schedule, amplification = self.strengths.schedule, self.approach.amplification
        level = None if amplification is None else amplification.level
        return schedule[min(level or generation, len(schedule)) - 1]

    def view_strengths(self) -> ViewStrengths:
        """Return how strongly views of unlabeled images are augmented."""
        strengths = self.strengths
        return ViewStrengths(levels=strengths.consistency, strongest=strengths.labeled_copies)

    def network_in(self, generation: int) -> Network:
        """Return the network of a generation, from 1: wider in each where networks grow."""
        network = self.network
        if not self.approach.growing or not hasattr(network, "width"):
            return network
        settings, width = self.paper_settings, network.relative_width
        if settings is not None and width == settings.widths[0]:
            return network.with_width(settings.widths[min(generation, len(settings.widths)) - 1])
        return network.with_width(width + WIDTH_STEP * (generation - 1))

    @property
    def scorer_width(self) -> float:
        """How wide mask scorers are: twice the base, as in the paper."""
        return 2 * self.network.relative_width

    @property
    def whole_machine(self) -> ComputeConfig:
        """How teachers predict: one after the other, with all threads."""
        return replace(self.compute, threads=self.compute.threads * self.workers)

    @property
    def scorer_rounds(self) -> tuple[int, int]:
        """How often mask scorers learn from each labeled image, and see each validation image.

        (0, 0) where there are no mask scorers.
        """
        scorer, approach = self.approach.scorer, self.approach
        if scorer is None:
            return 0, 0
        if scorer.learns_from == "consensus":
            return scorer.rounds, scorer.rounds_validation
        starts, networks = 1 if approach.scorer_start is None else 2, approach.first.networks
        fewer = min(networks, scorer.networks_validation)
        return starts * networks + 1, starts * fewer + 1  # predictions, and the truth

    def unlabeled_used(self, facts: Facts) -> int:
        """Return how many unlabeled images are used."""
        return min(facts.unlabeled, self.limit_unlabeled or facts.unlabeled)

    def with_recipe(self, **changes: Any) -> "Plan":
        """Return the plan with another recipe, in the starts of its approach too."""
        return replace(self, approach=with_recipe(self.approach, **changes))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values without the empty ones, for TOML."""
        plain: dict[str, Any] = TypeAdapter(Plan).dump_python(self, mode="json", exclude_none=True)
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Plan":
        """Return the plan that ``as_dict`` wrote.

        Raises:
            ValueError: If it is no such plan.
        """
        plan = TypeAdapter(cls).validate_python(dict(plain))
        if not 0 < min(plan.image_size) <= max(plan.image_size) <= LARGEST_SIDE:
            raise ValueError(f"images of {plan.image_size} pixels")
        if max(plan.workers, plan.compute.threads) > _MOST_WORKERS or plan.workers < 1:
            raise ValueError(f"{plan.workers} workers of {plan.compute.threads} threads")
        return plan


def with_recipe(approach: Approach, **changes: Any) -> Approach:
    """Return an approach with another recipe, in its starts too."""
    return approach.throughout(lambda each: replace(each, recipe=replace(each.recipe, **changes)))


SCORER_OPERATIONS = 1.64 / 4
"""Operations of a mask scorer's step, as a multiple of a step of a U-Net of its width; counted at
64 and 128 px, one head."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """A stage: its networks, what they minimize, and how they are trained."""

    name: str
    """``start``, ``scorer-start``, ``scorers`` or ``generation-K``."""
    networks: int
    """How many."""
    network: Network
    """Which network."""
    objective: Objective
    """What they minimize."""
    recipe: Recipe
    """How they are trained; ``validate_every`` is settled when the samples are known."""
    seeded_as: tuple[str, ...]
    """What the seeds of its networks are derived from."""
    labeled: int
    """Labeled samples per epoch: images and their copies; of a mask scorer, masks."""
    pseudo: int = 0
    """Pseudo-labeled samples per epoch, if all images are admitted."""
    unlabeled: int = 0
    """Unlabeled images that have no label."""
    validation: int
    """Validation samples."""
    augmented: float = 0.0
    """Share of the samples that are augmented."""

    @property
    def scores_masks(self) -> bool:
        """Whether its networks score masks."""
        return isinstance(self.objective, MaskQuality)

    @property
    def is_generation(self) -> bool:
        """Whether it learns from what another stage has learned."""
        return self.name.startswith("generation-")

    @property
    def workload(self) -> Workload:
        """How much the training of each network is, if all pseudo-labels are admitted."""
        samples = self.labeled + self.pseudo
        recipe = self.recipe.validated(samples=samples, validation=self.validation)
        amounts = Amounts(samples=samples, unlabeled=self.unlabeled)
        return self.objective.workload(recipe, amounts)

    @property
    def steps(self) -> int:
        """Optimizer steps of each network, if all pseudo-labels are admitted."""
        return self.workload.steps

    @property
    def width(self) -> float:
        """How wide its networks are."""
        return self.network.relative_width

    @property
    def operations(self) -> float:
        """Operations of a step, as a multiple of a step of a U-Net of width 1."""
        factor = SCORER_OPERATIONS if self.scores_masks else self.workload.passes
        return factor * self.width**2

    def jobs(
        self,
        plan: Plan,
        facts: Facts,
        spec: TargetSpec,
        folder: Path,
        *,
        samples: tuple[SampleSet, ...],
        validation: SampleSet,
        unlabeled: UnlabeledViews | None = None,
        initial: InitialWeights | None = None,
    ) -> list[TrainJob]:
        """Return a job for each of its networks.

        Args:
            plan: Seeds, augmentation and how networks are computed.
            facts: Image channels and network outputs.
            spec: What mask values mean.
            folder: The run; weights go to ``NAME/network-J.safetensors`` in it.
            samples: What they learn from.
            validation: What they are chosen by.
            unlabeled: Unlabeled images without further augmentation.
            initial: Weights they begin with.
        """
        count, looked_at = sum(each.samples for each in samples), len(validation.indices)
        views = None
        if unlabeled is not None:
            views = self.objective.unlabeled_views(unlabeled, plan.view_strengths())
        names = [f"{self.name}/network-{number}" for number in range(self.networks)]
        return [
            TrainJob(
                name=name,
                output=folder / f"{name}.safetensors",
                samples=samples,
                validation=validation,
                target=spec.as_dict(),
                network=self.network,
                channels=facts.channels,
                outputs=facts.outputs,
                objective=self.objective,
                recipe=self.recipe.validated(samples=count, validation=looked_at),
                compute=plan.compute,
                seed=seeds.derive(plan.seed, *self.seeded_as, number),
                unlabeled=views,
                initial=initial,
            )
            for number, name in enumerate(names)
        ]

    def rehearsed(self, plan: Plan, facts: Facts, spec: TargetSpec) -> TrainJob:
        """Return the job of one of its networks on images that are still to be made up."""
        nowhere = Path("made-up")
        strength = plan.strengths.scorer_samples if self.scores_masks else _strongest(plan)
        copies = Copies(count=1, strength=strength, rotate=plan.rotate, seed=0, plain=False)

        def made_up(count: int, copies: Copies | None = None) -> SampleSet:
            return SampleSet(
                images=nowhere,
                targets=nowhere,
                digest="",
                indices=tuple(range(count)),
                copies=copies,
                qualities=nowhere if self.scores_masks else None,
            )

        count = self.labeled + self.pseudo
        augmented = round(self.augmented * count)
        sets = ((count - augmented, None), (augmented, copies))
        views = None
        if self.unlabeled:
            views = UnlabeledViews(
                images=nowhere,
                digest="",
                indices=tuple(range(self.unlabeled)),
                strength=copies.strength or Strength(),
                moves=plan.moves_views,
                rotate=plan.rotate,
            )
        return self.jobs(
            plan,
            facts,
            spec,
            nowhere,
            samples=tuple(made_up(number, each) for number, each in sets if number),
            validation=made_up(self.validation),
            unlabeled=views,
        )[0]


def planned_stages(plan: Plan, facts: Facts, *, cap: int | None = None) -> list[StagePlan]:
    """Return the stages of a plan.

    Args:
        plan: What will be done.
        facts: What the data is like.
        cap: Most steps of any network; None for the plan's own.
    """
    plan = plan if cap is None else plan.with_recipe(max_steps=cap)
    approach = plan.approach
    stages = [_labels_alone("start", plan, facts, approach.first)]
    if approach.scorer_start is not None:
        stages.append(_labels_alone("scorer-start", plan, facts, approach.scorer_start))
    if approach.scorer is not None and enough_for_scorers(facts.labeled, facts.validation):
        stages.append(_scorers(plan, facts, approach.scorer))
    stages += [_generation(number, plan, facts) for number in range(1, approach.generations + 1)]
    return stages


def _labels_alone(name: str, plan: Plan, facts: Facts, approach: Approach) -> StagePlan:
    """Return a stage that learns without teachers."""
    extra = plan.unlabeled_used(facts)
    labeled = facts.labeled * approach.labeled.samples
    labeled += extra if approach.labeled.hidden_too else 0
    return StagePlan(
        name=name,
        networks=approach.networks,
        network=approach.network,
        objective=approach.objective,
        recipe=_lengthened(approach.recipe, approach.objective),
        # Networks that mask scorers learn from are those of a run of their approach.
        seeded_as=(approach.name, "start", "network"),
        labeled=labeled,
        unlabeled=extra if approach.objective.uses_unlabeled else 0,
        validation=facts.validation,
        augmented=_augmented_labels(approach, facts) / labeled,
    )


def _scorers(plan: Plan, facts: Facts, scorer: MaskScorer) -> StagePlan:
    learned, looked_at = plan.scorer_rounds
    heads = heads_for(facts.task)
    # What is learned from is made beforehand, and augmented then.
    augmentation = replace(plan.recipe.augmentation, level="paper", limits=None)
    return StagePlan(
        name="scorers",
        networks=plan.approach.networks,
        network=EvalNetConfig(width=plan.scorer_width, heads=heads, paper=plan.paper),
        objective=MaskQuality(),
        recipe=replace(
            plan.recipe, epochs=min(plan.recipe.epochs, scorer.epochs), augmentation=augmentation
        ),
        seeded_as=("judges",),  # a seed's name, which is never changed
        labeled=facts.labeled * learned,
        validation=facts.validation * looked_at,
        augmented=0.5 if scorer.learns_from == "consensus" else 0.0,
    )


def _generation(number: int, plan: Plan, facts: Facts) -> StagePlan:
    approach, unlabeled = plan.approach, plan.unlabeled_used(facts)
    labeled, pseudo = facts.labeled * approach.labeled.samples, 0
    augmented = float(_augmented_labels(approach, facts))
    if approach.pseudo_label is not None:
        made = approach.amplification
        copies, plain = (made.typical, made.keep_plain) if made else (0.0, True)
        pseudo = round(unlabeled * (copies + plain))
        augmented += unlabeled * copies
    full = facts.labeled + facts.unlabeled
    least = int(plan.least_share * (full // plan.recipe.batch_size))
    recipe = replace(plan.recipe, least_steps=max(1, least))
    return StagePlan(
        name=f"generation-{number}",
        networks=approach.networks,
        network=plan.network_in(number),
        objective=approach.objective,
        recipe=_lengthened(recipe, approach.objective),
        seeded_as=(approach.name, f"generation-{number}", "network"),
        labeled=labeled,
        pseudo=pseudo,
        unlabeled=unlabeled if approach.objective.uses_unlabeled else 0,
        validation=facts.validation,
        augmented=min(1.0, augmented / (labeled + pseudo)),
    )


def _lengthened(recipe: Recipe, objective: Objective) -> Recipe:
    return replace(recipe, epochs=recipe.epochs * objective.epochs_factor)


def _augmented_labels(approach: Approach, facts: Facts) -> int:
    """Return the samples of an epoch that are augmented labeled images."""
    return facts.labeled * (1 if approach.labeled.online else approach.labeled.copies)


def _strongest(plan: Plan) -> Strength | None:
    """Return how far copies are pushed, at most; None where they are the images themselves."""
    if plan.approach.labeled.copies and plan.recipe.augmentation.level == "paper":
        return plan.strengths.labeled_copies
    return plan.strength_in(plan.approach.generations or 1)


def planned_steps(stages: Sequence[StagePlan]) -> int:
    """Return the optimizer steps of all networks together, if all pseudo-labels are admitted."""
    return sum(stage.networks * stage.steps for stage in stages)
