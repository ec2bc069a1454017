"""From what is asked for to a plan: every gap filled, from the data and this machine."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch

from imseg import options, types
from imseg.approaches.methods.approach import Approach
from imseg.approaches.methods.catalog import find_approach
from imseg.approaches.methods.paper import PAPER
from imseg.approaches.planning import run_options, stage_plan
from imseg.approaches.planning.plan import Facts, Plan, with_recipe
from imseg.approaches.planning.settings import Settings
from imseg.components import consensus, votes
from imseg.data.checks.fitness import FolderScan
from imseg.data.doubts import small_objects
from imseg.data.images.modality import recognize_modality
from imseg.engine.hardware import device as hardware
from imseg.engine.training.recipe import MODERN_BY_KIND, Augmentation, Recipe
from imseg.networks.registry import CustomConfig, Network
from imseg.ops.limits import limits_for
from imseg.ops.tiling import Size, TileScheme, Tiling

ENOUGH_STEPS = 500
"""Steps that few labels get under ``standard``, by more epochs than the paper's 50."""
PATIENCE = 2
"""Generations without a rise on validation after which a run ends, if nothing else is asked for."""
LONGEST_SIDE = {"quick": 96, "standard": small_objects.DEFAULT_LONGEST, "paper": 256}
"""Pixels to which the longer side of images is limited on a CPU; on a GPU it is always 256."""
LONGEST_SIDE_ON_GPU = 256
MOST_ON_GPU = 5
"""Networks that share a GPU at most. One alone leaves it idle between its kernels; with a few the
gaps are filled. See docs/decisions/0022-several-networks-on-one-gpu.md."""
CONTEXT = 700 * 2**20
"""Bytes of GPU memory that a process takes before it trains anything."""
SHARE = 0.8
"""Share of the free GPU memory that is planned with."""


def make_plan(settings: Settings, facts: Facts) -> Plan:
    """Return the plan for what was asked; the steps of ``standard`` are not fitted to time yet.

    Args:
        settings: What was asked for.
        facts: What the data is like.
    """
    device, tiles = hardware.resolve_device(settings.device), tiles_for(settings, facts)
    plan = Plan(
        approach=_settled(settings, facts),
        effort=settings.effort,
        published=settings.paper,
        seed=settings.seed,
        task=facts.task,
        image_size=tiles.tiling.step if tiles else working_size(settings, facts.typical_size),
        tiles=tiles,
        pixel_sizes=facts.pixel_sizes if tiles else None,
        typical_size=facts.typical_size,
        largest_size=facts.largest_size,
        same_scale=facts.modality != "photograph",
        tiles_each=tiles.count(facts.typical_size) if tiles else 1,
        limit_unlabeled=settings.limit_unlabeled,
        tta=settings.recipe_name == "modern" if settings.tta is None else settings.tta,
        compute=hardware.ComputeConfig(
            device=device,
            precision=hardware.resolve_precision(settings.precision, device),
            compile=settings.compile == "on",
        ),
    )
    workers = workers_for(settings.workers, plan, facts)
    threads = max(1, hardware.usable_cores() // workers) if device == "cpu" else 1
    return replace(plan, workers=workers, compute=replace(plan.compute, threads=threads))


def fits_time(settings: Settings) -> bool:
    """Return whether the number of steps is chosen by what they cost on this machine."""
    timed = settings.effort == "standard" and settings.match is None
    return timed and settings.max_steps is None


def seen_size(
    settings: Settings, typical: Size, *, narrow: float | None, modality: types.Modality
) -> Size | float | None:
    """Return how networks see typical images, where that is known before the plan.

    Args:
        settings: What was asked for.
        typical: Median height and width of the images.
        narrow: As in ``Facts``.
        modality: As in ``Facts``.

    Returns:
        Height and width of whole images, or the scale of windows; None where it depends on what
        steps cost here.
    """
    if _sees_windows(settings, typical, narrow=narrow, modality=modality):
        return _scale_for(settings, typical, narrow=narrow)
    by_time = settings.minutes is not None and settings.image_size is None
    return None if by_time else working_size(settings, typical)


def seen_in(found: FolderScan, settings: Settings, typical: Size) -> Size | float | None:
    """Return how networks see typical images of a folder; see ``seen_size``."""
    labeled, channels = found.survey.labeled, found.reading.channels if found.reading else 3
    looks = [facts.look for facts in labeled if facts.look is not None]
    modality = recognize_modality(looks, channels=channels)
    narrow = narrow_as_asked(settings, typical, small_objects.narrow_share(labeled))
    return seen_size(settings, typical, narrow=narrow, modality=modality)


def narrow_as_asked(settings: Settings, typical: Size, measured: float | None) -> float | None:
    """Return how narrow objects are, as ``Facts`` has it: as was asked for, or as measured."""
    if settings.object_size is None:
        return measured
    return float(settings.object_size) / max(typical)


def _settled(settings: Settings, facts: Facts) -> Approach:
    """Return the approach that was asked for, with every number settled."""
    paper, approach = settings.effort == "paper", settings.composition
    published = PAPER[settings.paper] if settings.paper else None
    catalog = find_approach(settings.approach)
    if catalog.generations > 1:  # an approach of one stage, or of one generation, is what it is
        wanted = {"quick": 1, "standard": 2, "paper": 5}[settings.effort]
        approach = replace(approach, generations=settings.generations or wanted)
    if settings.patience is None and not paper and catalog.generations > 1:
        approach = replace(approach, patience=PATIENCE)
    if settings.thresholds is None and published is not None and approach.has_thresholds:
        approach = replace(approach, thresholds=published.thresholds)
    labeler, copies = _labeler(settings, approach), _amplification(settings, approach)
    approach = replace(approach, pseudo_label=labeler, amplification=copies)
    approach = _with_networks(approach, settings)
    if "width" not in settings.given and hasattr(approach.network, "width"):
        width = 1.0 if paper and facts.task != "binary" else 0.5
        width = published.widths[0] if published else width
        network = approach.network.with_width(width)
        approach = approach.throughout(lambda each: replace(each, network=network))
    rotate = settings.rotate
    if rotate is None:  # scenes of classes and depths have an above
        rotate = published.rotate if published else facts.task in ("binary", "multilabel")
    recipe = replace(approach.recipe, paper=paper)
    tiles = tiles_for(settings, facts)
    each = tiles.count(facts.typical_size) if tiles else 1
    samples = facts.labeled * each * approach.first.labeled.samples
    changes: dict[str, Any] = {
        "paper": paper,
        "augmentation": _augmentation(recipe, rotate, settings, facts),
    }
    if settings.recipe_name == "modern":
        parts = MODERN_BY_KIND[facts.task]
        changes |= {name: value for name, value in parts.items() if name not in settings.given}
        if settings.loss == "paper" and "class_balance" not in settings.given:
            changes["class_balance"] = 0.0
    if settings.epochs is None:
        # The paper's 50 epochs, or more where few labels would give too few steps.
        wanted = {"quick": 150, "standard": ENOUGH_STEPS, "paper": 0}[settings.effort]
        if settings.minutes is not None:
            wanted = settings.max_steps or 0  # as many as there is time for
        changes["epochs"] = max(50, -(-wanted // recipe.steps_per_epoch(samples)))
    if settings.max_steps is None and settings.effort == "quick":
        changes["max_steps"] = 150
    if settings.validate_every is None:
        changes["validate_every"] = 1 if paper else 0
    return with_recipe(approach, **changes)


def _augmentation(recipe: Recipe, rotate: bool, settings: Settings, facts: Facts) -> Augmentation:
    """Return how images are augmented, for what they and their masks are."""
    size = working_size(settings, facts.typical_size)
    found = replace(recipe.augmentation, rotate=rotate)
    if found.level == "paper":
        return found
    limits = limits_for(found.level, kind=facts.task, modality=facts.modality, rotate=rotate)
    if limits is not None and facts.narrow is not None:
        tiles = tiles_for(settings, facts)
        longest = max(facts.typical_size) * tiles.scale if tiles else max(size)
        limits = limits.kept_visible(facts.narrow * longest)
    return replace(found, limits=limits)


def _with_networks(approach: Approach, settings: Settings) -> Approach:
    """Return an approach with the networks per stage asked for, or those of its effort."""
    start = later = {"quick": 2, "standard": 3, "paper": 5}[settings.effort]
    if settings.effort == "paper" and settings.match is None:
        start = 10
    elif approach.keeps_start:
        start = later = 1  # of several the best gains less than a longer training of one
    if settings.networks is not None:
        start = later = settings.networks
    elif approach.pseudo_label is not None:
        least = max(settings.mask_scorers or 0, settings.teachers or 2)
        start, later = max(start, least), max(later, least)
    if approach.start is None:
        later = start

    def settled(each: Approach) -> Approach:
        fresh = each.labeled.fresh and each.labeled.copies > 0
        networks = later if each.name == approach.name else start
        return replace(each, networks=networks, labeled=replace(each.labeled, fresh=fresh))

    return approach.throughout(settled)


def _labeler(settings: Settings, approach: Approach) -> Any:
    """Return how images are labeled, with what depends on the schedule settled."""
    labeler, paper = approach.pseudo_label, settings.effort == "paper"
    if isinstance(labeler, consensus.Consensus):
        grow = settings.grow_labels
        if grow is None:  # as the reference does whenever it erodes the mask
            grow = paper and bool(settings.erode)
        return replace(labeler, grow_labels=grow, block=_block(settings, labeler))
    if isinstance(labeler, votes.VoteOfViews) and settings.plain_view is None:
        return replace(labeler, plain=not paper)  # in the reference the plain image does not vote
    if isinstance(labeler, votes.BestProposal) and settings.paper:
        return replace(labeler, accepts=PAPER[settings.paper].accepts)
    return labeler


def _block(settings: Settings, labeler: consensus.Consensus) -> Any:
    """Return where inconsistent pixels are set to 0; see docs/decisions/0028-defaults.md.

    In the paper in image and label. Who names a color wants the image blocked, and who erodes the
    mask wants something left of what it took off.
    """
    blocking, ignore = settings.blocking, settings.ignore
    if blocking is None:
        asked = (settings.block_color, settings.reblock, settings.erode or None)
        wanted = settings.effort == "paper" or any(each is not None for each in asked)
        blocking = "both" if wanted else "none"
        ignore = not wanted if ignore is None else ignore
    return replace(labeler.block, blocking=blocking, ignore=bool(ignore))


def _amplification(settings: Settings, approach: Approach) -> Any:
    """Return how copies are made; what a schedule does by itself leaves no trace in jobs."""
    made = approach.amplification
    if made is not None and made.reblock == (settings.effort != "paper"):
        return replace(made, reblock=None)
    return made


def match_plan(
    plan: Plan,
    *,
    matched: Plan,
    steps: int,
    network: Network,
    labeled: int,
    given: Mapping[str, Any] = MappingProxyType({}),
) -> Plan:
    """Return the plan of a baseline with the steps and network of another run's final network.

    It has the other run's recipe, too, but for the parts that were asked for.

    Args:
        plan: The baseline's own plan.
        matched: The plan of the run it is matched to; image size and batch size are taken over.
        steps: Optimizer steps of its final network.
        network: Its final network.
        labeled: Labeled images the baseline is trained on.
        given: Options that were asked for, by name.
    """
    recipe = options.with_options(matched.recipe, given)
    if {"augment", "rotate"} & given.keys():
        recipe = replace(recipe, augmentation=plan.recipe.augmentation)
    settled = replace(
        plan,
        approach=replace(plan.approach, network=network, recipe=recipe),
        image_size=matched.image_size,
        tiles=matched.tiles,
        pixel_sizes=matched.pixel_sizes,
        tiles_each=matched.tiles_each,
        published=plan.published or matched.published,
        matched_steps=steps,
    ).with_recipe(max_steps=steps, least_steps=1)
    samples = labeled * settled.tiles_each * plan.approach.labeled.samples
    in_epoch = settled.recipe.steps_per_epoch(samples)
    return settled.with_recipe(epochs=-(-steps // in_epoch))


def working_size(settings: Settings, typical: tuple[int, int]) -> tuple[int, int]:
    """Return the height and width at which networks work.

    By default they have the shape of the images, in multiples of 16, with a limited longer side.

    Args:
        settings: What was asked for.
        typical: Median height and width of the images.
    """
    if settings.image_size is not None:
        height, width = settings.image_size
        return height, width
    if settings.scale is not None or settings.patch is not None:
        return settings.patch or (small_objects.DEFAULT_PATCH, small_objects.DEFAULT_PATCH)
    if settings.paper is not None:
        return PAPER[settings.paper].image_size
    on_cpu = hardware.resolve_device(settings.device) == "cpu"
    longest = LONGEST_SIDE[settings.effort] if on_cpu else LONGEST_SIDE_ON_GPU
    return small_objects.working_shape(typical, longest=longest, least=run_options.SMALLEST_SIDE)


def tiles_for(settings: Settings, facts: Facts) -> TileScheme | None:
    """Return how images are scaled and cut, if networks are to see windows of them; else None.

    They are where that was asked for, and of micrographs whose objects would be too small on whole
    images. Tiles are half as large again as the windows, which may lie anywhere in them, and are a
    window apart.

    Args:
        settings: What was asked for.
        facts: What the data is like.
    """
    typical, narrow = facts.typical_size, facts.narrow
    if not _sees_windows(settings, typical, narrow=narrow, modality=facts.modality):
        return None
    height, width = settings.patch or (small_objects.DEFAULT_PATCH, small_objects.DEFAULT_PATCH)
    tile = (height + 2 * (height // 4), width + 2 * (width // 4))
    scale = _scale_for(settings, typical, narrow=narrow)
    reference = None if facts.pixel_sizes is None else facts.pixel_sizes.reference
    return TileScheme(scale, Tiling(tile=tile, step=(height, width)), reference)


def _scale_for(settings: Settings, typical: Size, *, narrow: float | None) -> float:
    """Return the scale at which windows are seen."""
    if settings.scale is not None:
        return float(settings.scale)
    return small_objects.scale_for(typical, narrow)


def _sees_windows(
    settings: Settings, typical: Size, *, narrow: float | None, modality: types.Modality
) -> bool:
    """Return whether networks see windows: as was asked for, or by the size of objects."""
    if settings.scale is not None or settings.patch is not None:
        return True
    chosen = settings.image_size is not None or settings.paper is not None or settings.whole_image
    if chosen or settings.match is not None or settings.recipe_name == "paper":
        return False
    if settings.object_size is not None:  # then they are objects by themselves, in photographs too
        modality = "gray"
    return small_objects.needs_windows(working_size(settings, typical), narrow, modality)


def workers_for(asked: int | None, plan: Plan, facts: Facts) -> int:
    """Return how many networks are trained side by side: what was asked for, or what pays.

    Args:
        asked: What was asked for.
        plan: What will be done, whoever does it.
        facts: What the data is like.
    """
    kind, network = torch.device(plan.compute.device).type, plan.network
    alone = isinstance(network, CustomConfig) and not network.is_importable
    if alone or kind not in ("cpu", "cuda"):
        return 1
    if asked:
        return asked
    stages = stage_plan.planned_stages(plan, facts)
    wanted = min(hardware.usable_cores(), max(stage.networks for stage in stages))
    if kind == "cpu":
        return wanted
    widest = max(stages, key=lambda stage: stage.width)
    network, channels, outputs = network.with_width(widest.width), facts.channels, facts.outputs
    at_once = max(stage.objective.images_at_once(plan.recipe) for stage in stages)
    shape = (at_once, channels, *plan.image_size)
    each = hardware.training_bytes(
        network, plan.compute, (shape,), channels=channels, outputs=outputs
    )
    return on_gpu(wanted, free=hardware.free_device_memory(plan.compute.device) or 0, each=each)


def on_gpu(wanted: int, *, free: int, each: int) -> int:
    """Return how many of so many networks share a GPU, at least one.

    Args:
        wanted: Networks of a stage, or processor cores if they are fewer.
        free: Bytes that are free on it.
        each: Bytes that the training of one takes.
    """
    fitting = int(SHARE * free // (each + CONTEXT))
    return max(1, min(wanted, MOST_ON_GPU, fitting))
