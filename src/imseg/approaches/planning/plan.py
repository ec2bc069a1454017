"""What will be done: every number of a run, settled before training starts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import TypeAdapter

from imseg.approaches.methods.approach import Approach
from imseg.approaches.methods.paper import PAPER, PaperSettings, Published, nearest_published
from imseg.approaches.planning.run_options import LARGEST_SIDE, Effort
from imseg.components.votes import VoteOfViews
from imseg.data.images.pixel_size import PixelSizes
from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.training.objectives.objective import ViewStrengths
from imseg.engine.training.recipe import Recipe
from imseg.networks.registry import Network
from imseg.ops.augment import UNMOVED, Move, moves_for
from imseg.ops.photometric import Strength
from imseg.ops.tiling import Size, TileScheme, Tiling
from imseg.options import STRICT
from imseg.types import Kind, Modality

WIDTH_STEP = 0.25
"""How much wider networks are in each generation where they grow; the paper's alpha."""
_MOST_WORKERS = 4096
LARGER = 2
"""How many times as high and wide as the images learned from an image is much larger."""


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
    largest_size: tuple[int, int] | None = None
    """Greatest height and width of the labeled images in pixels; None: not looked at."""
    narrow: float | None = None
    """The width that a tenth of the labeled objects stay below, as a share of the longer side of an
    image; None: not measured."""
    pixel_sizes: PixelSizes | None = None
    """How large the pixels of the images are; None: not known."""


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
    tiles: TileScheme | None = None
    """How images are scaled and cut into tiles, in which networks learn from windows of
    ``image_size``; None: they see whole images, resized to ``image_size``."""
    pixel_sizes: PixelSizes | None = None
    """How large the pixels of the images are, where the scale depends on them; else None."""
    tiles_each: int = 1
    """Tiles of a typical image; 1 where images are whole."""
    typical_size: Size | None = None
    """Median height and width of the labeled images; None: a run of an earlier version."""
    largest_size: Size | None = None
    """Greatest height and width of the labeled images; None: a run of an earlier version."""
    same_scale: bool = False
    """Whether images that are much larger than those show more at the same scale, as micrographs
    do; else they show the same in more pixels, as photographs do."""
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
        """Return the orientations in which a network sees an image: as it is, flipped, turned.

        Args:
            tta: Whether its predictions are averaged over all that there are; None: as the plan
                has it.
        """
        height, width = self.image_size
        wanted = self.tta if tta is None else tta
        return moves_for(rotate=self.rotate, square=height == width) if wanted else UNMOVED

    @property
    def teacher_moves(self) -> tuple[Move, ...]:
        """The orientations in which teachers see an image that they label.

        Where views vote, they are the orientations.
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

    @property
    def stored_size(self) -> Size | TileScheme:
        """How images are brought to the size at which they are stored and predicted."""
        return self.tiles or self.image_size

    @property
    def scheme(self) -> TileScheme | None:
        """How images are predicted tile by tile at the scale of the training; None: not known."""
        if self.tiles is not None or self.typical_size is None:
            return self.tiles
        height, width = self.image_size
        tiling = Tiling(self.image_size, (3 * height // 4, 3 * width // 4))
        usual, seen = math.prod(self.typical_size), math.prod(self.image_size)
        return TileScheme(math.sqrt(seen / usual), tiling)

    def is_larger(self, own: Size) -> bool:
        """Return whether an image is much larger than all of those learned from."""
        known = self.largest_size
        pairs = zip(own, known or own, strict=True)
        return known is not None and all(side >= LARGER * largest for side, largest in pairs)

    def predicted_size(
        self, own: Size, scale: float | None = None, *, pixel_size: float | None = None
    ) -> Size | TileScheme:
        """Return at which size an image is predicted, or how it is scaled and cut.

        Args:
            own: Its height and width.
            scale: The scale that was asked for; 0: images are seen whole. None: as in training, but
                what is much larger and shows more is cut.
            pixel_size: Micrometers on a side of its pixels, which do not matter where a scale was
                asked for; None: not known.
        """
        scheme = self.scheme
        if scale == 0 and self.tiles is None:
            return self.image_size
        if scale and scheme is not None:
            return TileScheme(scale, scheme.tiling)
        if self.tiles is not None:
            return self.tiles.at(pixel_size)
        cut = self.same_scale and self.is_larger(own)
        return scheme if cut and scheme is not None else self.image_size

    @property
    def row_size(self) -> Size:
        """Height and width in pixels of what is stored: images, or tiles of them."""
        return self.tiles.tiling.tile if self.tiles else self.image_size

    @property
    def seen_size(self) -> Size | float:
        """Height and width at which networks see every image, or the scale of their windows."""
        return self.tiles.scale if self.tiles else self.image_size

    @property
    def seen_in_words(self) -> str:
        """What networks see, such as ``images of 128x96 px`` (height x width)."""
        size = "{}x{} px".format(*self.image_size)
        if self.tiles is None:
            return f"images of {size}"
        return f"windows of {size} of images at scale {self.tiles.scale:.2g}"

    @property
    def window(self) -> Size | None:
        """The part of a tile that is learned from, anywhere in it; None: images are whole."""
        return self.image_size if self.tiles else None

    def unlabeled_used(self, facts: Facts) -> int:
        """Return how many unlabeled images are used, or tiles of them."""
        return self.tiles_each * min(facts.unlabeled, self.limit_unlabeled or facts.unlabeled)

    def in_tiles(self, facts: Facts) -> Facts:
        """Return how many labeled and validation images there are, or about how many tiles."""
        labeled, validation = facts.labeled * self.tiles_each, facts.validation * self.tiles_each
        return replace(facts, labeled=labeled, validation=validation)

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
