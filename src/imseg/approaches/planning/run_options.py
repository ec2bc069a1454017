"""What can be asked of a run as a whole; the options of its parts are declared on these."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from imseg.approaches.methods.paper import Published
from imseg.data.doubts.small_objects import DEFAULT_PATCH
from imseg.data.folder.config import TaskWord
from imseg.engine.training.recipe import RecipeName
from imseg.engine.workers.choice import ExecutorName
from imseg.options import option

Effort = Literal["quick", "standard", "paper"]

SMALLEST_SIDE = 32
"""Pixels a side below which a network that halves four times has too little left to normalize."""
LARGEST_SIDE = 8192
"""Pixels a side beyond which no machine has the memory."""

MINUTES = 10.0
"""Minutes that a training takes of which nothing else is said than its data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What is asked of a run as a whole; None leaves the choice to the plan."""

    approach: str | None = option(
        None,
        "See `imseg approaches`. If nothing is said about the length, labels alone come first."
        "  [default: auto; without unlabeled images ldt; with the paper's recipe or schedule im]",
        group="method",
        essential=True,
    )
    """A name from ``imseg approaches``; None: see ``Settings.approach``."""
    start_with: str | None = option(
        None,
        "Approach of one stage that trains the first teachers, such as unimatch.  [default: that of"
        " the approach]",
        group="method",
    )
    """The approach that trains the first teachers; None: the approach's own start."""
    effort: Effort = option(
        "standard",
        "The budget of each run: quick (minutes), standard (about an hour), paper (its schedule).",
        group="budget",
        essential=True,
    )
    """The budget: a few minutes, about an hour, or the paper's schedule."""
    minutes: float | None = option(
        None,
        "Time for the whole run on this machine: image size, width of networks, steps, and whether"
        " there is time for unlabeled images, are chosen so that it is used and enough."
        f"  [default: {MINUTES:g}, if no approach is named and nothing about the length is said]",
        group="budget",
        low=0.5,
        high=100_000,
        essential=True,
    )
    """Minutes for the whole run here, by which image size, width and steps are chosen."""
    paper: Published | None = option(
        None, "The published settings: isic2018, hela, suim or cityscapes.", group="method"
    )
    """The published settings for one of the paper's data sets, with the paper's schedule."""
    recipe: RecipeName | None = option(
        None,
        "How networks are trained: modern (strong augmentation, cross-entropy and Dice, a falling"
        " step size, averaged weights), or paper.  [default: modern; paper with --effort paper]",
        group="method",
        essential=True,
    )
    """How networks are trained: ``modern`` or ``paper``; its parts are options of their own."""
    seed: int = option(0, "Root of all randomness.", group="method", low=0, essential=True)
    """The root of all randomness."""
    network: str | None = option(
        None,
        "Network: unet, unet-plus, paper-unet, unet:ENCODER (with an encoder of timm, such as"
        " unet:tf_efficientnet_lite0), or module:callable of your own.  [default: unet-plus; unet"
        " with --recipe paper, paper-unet in the paper's schedule]",
        group="network",
    )
    """The network: unet, unet-plus, paper-unet, ``unet:ENCODER``, or ``module:callable``."""
    task: TaskWord | None = option(
        None,
        "binary, multiclass, multilabel, instances or regression.  [default: from the masks]",
        group="data",
    )
    """What masks hold; None recognizes it from them."""
    image_size: tuple[int, int] | None = option(
        None,
        "Height and width at which networks work, in pixels.",
        group="data",
        metavar="H W",
        low=SMALLEST_SIDE,
        high=LARGEST_SIDE,
        expected=f"{SMALLEST_SIDE} pixels or more a side (at most {LARGEST_SIDE}).",
        essential=True,
    )
    """Height and width in pixels at which networks work."""
    scale: float | None = option(
        None,
        "Scale at which networks see images, 1 being full size; they learn from windows of them"
        " (--patch), and predict large images tile by tile.  [default: images are seen whole]",
        group="data",
        low=0.01,
        high=1,
    )
    """Scale at which networks see images, in windows; None: from ``patch``, or images are whole."""
    patch: tuple[int, int] | None = option(
        None,
        "Height and width of the windows of images that networks learn from, in pixels of the"
        f" scaled image.  [default: {DEFAULT_PATCH} {DEFAULT_PATCH} with --scale]",
        group="data",
        metavar="H W",
        low=SMALLEST_SIDE,
        high=LARGEST_SIDE,
        expected=f"{SMALLEST_SIDE} pixels or more a side (at most {LARGEST_SIDE}).",
    )
    """Height and width of windows in pixels; None: the default with ``scale``, else no windows."""
    object_size: float | None = option(
        None,
        "Width of small objects on images as they are, in pixels: it decides at which size networks"
        " see images.  [default: measured in the masks]",
        group="data",
        low=1,
        high=LARGEST_SIDE,
    )
    """Pixels that the narrowest tenth of objects is wide on typical images; None: as measured."""
    whole_image: bool = option(
        False,
        "Let networks see whole images, resized, also where their objects are very small then.",
        group="data",
    )
    """Whether images are whole even where windows would be taken because objects are small."""
    limit_unlabeled: int | None = option(
        None, "Use at most so many unlabeled images.", group="data", low=1
    )
    """Use at most so many unlabeled images, chosen by seed."""
    follow_links: bool = option(
        False,
        "Read links in the data folder that lead out of it, if you trust the folder.",
        group="data",
    )
    """Whether links in the data folder that lead out of it are read; else they are refused."""
    unlabeled_masks: Path | None = option(
        None,
        "Hidden masks of the unlabeled images: for the upper bounds fdt and gt-im++, and to compare"
        " the pseudo-labels of others with them.",
        group="data",
    )
    """Hidden masks of the unlabeled images: fdt and gt-im++ learn from them, for all others
    pseudo-labels are compared with them (the audit)."""
    match: Path | None = option(
        None, "The run that a matched baseline is matched to.", group="method"
    )
    """The run whose final network's steps and width a matched baseline gets."""
    reuse: Path | None = option(
        None, "A run, or folder of runs, whose equal networks are taken over.", group="machine"
    )
    """A run, or a folder of runs, whose networks are taken over where their jobs are equal."""
    tta: bool | None = option(
        None,
        "Average what networks say about flipped images (up to 8 orientations): for pseudo-labels,"
        " and by default in predict and evaluate.  [default: --tta with the modern recipe]",
        group="method",
    )
    """Whether predictions are averaged over flipped images, for pseudo-labels and, by default, in
    ``predict`` and ``evaluate``."""
    device: str = option("auto", "auto, cpu, cuda, cuda:0 ...", group="machine", essential=True)
    """auto, cpu, cuda, cuda:0 ..."""
    precision: Literal["auto", "float32", "bfloat16"] = option(
        "auto", "Type of activations: auto, float32 (exact) or bfloat16.", group="machine"
    )
    """Type of activations; float32 is the exact mode."""
    compile: Literal["auto", "on", "off"] = option(
        "auto",
        "Compile training steps: on, off, or auto, where it pays for itself in the run.",
        group="machine",
    )
    """Whether training steps are compiled: auto measures whether it pays for itself in the run."""
    workers: int | None = option(
        None, "Networks trained side by side.  [default: one per core]", group="machine", low=1
    )
    """Networks trained side by side; None: as many as there are cores."""
    executor: ExecutorName = option(
        "auto",
        "Who trains the networks: auto (this machine), or ray (the nodes of a Ray cluster).",
        group="machine",
    )
    """Who trains the networks: this machine, or the nodes of a Ray cluster."""
    address: str | None = option(
        None,
        "Of the Ray cluster: auto (the one of this machine), or HOST:PORT of its head.  [default:"
        " one is started on this machine]",
        group="machine",
    )
    """``auto`` or ``HOST:PORT`` of a Ray cluster; None: one is started on this machine."""
