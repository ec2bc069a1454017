"""The stages of a plan: which networks are trained, on how much, and their jobs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from imseg.approaches.methods.approach import Approach
from imseg.approaches.planning.plan import Facts, Plan
from imseg.components.amplification import MaskScorer, enough_for_scorers
from imseg.engine.loading.samples import Copies, InitialWeights, SampleSet, UnlabeledViews
from imseg.engine.training import seeds
from imseg.engine.training.job import TrainJob
from imseg.engine.training.objectives.mask_quality import MaskQuality
from imseg.engine.training.objectives.objective import Amounts, Objective, Workload
from imseg.engine.training.recipe import Recipe
from imseg.networks.registry import EvalNetConfig, Network
from imseg.ops.photometric import Strength
from imseg.tasks.quality import heads_for
from imseg.types import TargetSpec

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

        # What mask scorers learn from is never a part of what was scored.
        window = None if self.scores_masks else plan.window

        def made_up(count: int, copies: Copies | None = None) -> SampleSet:
            return SampleSet(
                images=nowhere,
                targets=nowhere,
                digest="",
                indices=tuple(range(count)),
                copies=copies,
                qualities=nowhere if self.scores_masks else None,
                window=window,
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
                window=plan.window,
            )
        return self.jobs(
            plan,
            facts,
            spec,
            nowhere,
            samples=tuple(made_up(number, each) for number, each in sets if number),
            validation=replace(made_up(self.validation), window=None),
            unlabeled=views,
        )[0]


def planned_stages(plan: Plan, facts: Facts, *, cap: int | None = None) -> list[StagePlan]:
    """Return the stages of a plan.

    Args:
        plan: What will be done.
        facts: What the data is like.
        cap: Most steps of any network; None for the plan's own.
    """
    plan, facts = plan if cap is None else plan.with_recipe(max_steps=cap), plan.in_tiles(facts)
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
    full = facts.labeled + plan.tiles_each * facts.unlabeled
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
