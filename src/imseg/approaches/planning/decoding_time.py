"""How long decoding images and masks takes."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from imseg.approaches.planning.plan import Plan
from imseg.approaches.running.run_data import limited
from imseg.data.files.listing import content_of
from imseg.data.images.decoding import resize_image
from imseg.data.images.image_files import load_pixels
from imseg.data.masks.io import load_target
from imseg.engine.hardware.device import usable_cores
from imseg.types import DataSet, Image, LabeledImage

DECODED = 12
"""Pictures of a kind that are decoded to see how long that takes."""


def decoding_seconds(
    dataset: DataSet, plan: Plan, hidden: Sequence[LabeledImage] | None = None
) -> float:
    """Return how long decoding takes, from a few pictures spread over all.

    Args:
        dataset: What is learned from.
        plan: Which of it is used, and at which size.
        hidden: Unlabeled images with their hidden masks, if those are named.
    """
    approach = plan.approach
    groups: list[Sequence[Image | LabeledImage]] = [(*dataset.labeled, *dataset.val)]
    if approach.needs_unlabeled and not approach.labeled.hidden_too:
        groups.append(limited(dataset.unlabeled, plan))
    if hidden is not None and (approach.sees_truth or approach.pseudo_label is not None):
        groups.append(limited(tuple(hidden), plan))
    return sum(decoding_of(dataset, plan, group) for group in groups if group)


def decoding_of(dataset: DataSet, plan: Plan, entries: Sequence[Image | LabeledImage]) -> float:
    """Return how long decoding some pictures takes, from a few of them."""

    def decode(entry: Image | LabeledImage) -> None:
        image = entry.image if isinstance(entry, LabeledImage) else entry
        resize_image(load_pixels(image, dataset.reading), plan.image_size)
        content_of(image.pixels)
        if isinstance(entry, LabeledImage):
            load_target(entry, dataset.spec, plan.image_size)
            content_of(entry.mask)

    chosen = entries[:: max(1, len(entries) // DECODED)][:DECODED]
    began = time.monotonic()
    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(decode, chosen))
    return (time.monotonic() - began) * len(entries) / len(chosen)
