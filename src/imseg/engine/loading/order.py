"""In which order a training looks at its samples."""

from collections.abc import Iterator

import torch
from jaxtyping import Int64
from torch import Tensor

from imseg.engine.training.recipe import Recipe


def epochs(
    images: int,
    recipe: Recipe,
    generator: torch.Generator,
    *,
    rare: Int64[Tensor, "n"] | None = None,
) -> Iterator[list[Int64[Tensor, "b"]]]:
    """Yield the batches up to each look at the validation images until the steps are spent.

    Batches hold running numbers. There is a look every ``validate_every`` epochs. Where some images
    are ``rare``, a share of each epoch (``rare_share``) is of these at least, in place of others.

    Ours: an epoch is every image once. ``paper``: an endless stream, reshuffled every pass with its
    short last batch included, cut into epochs of floor(n / batch size) steps.
    """
    left = recipe.limited(recipe.epochs * recipe.steps_per_epoch(images))
    in_epoch = recipe.steps_per_epoch(images) * max(1, recipe.validate_every)
    stream = _endless(images, recipe, generator, rare)
    while left > 0:
        count = min(left, in_epoch)
        yield [next(stream) for _ in range(count)]
        left -= count


def _endless(
    images: int, recipe: Recipe, generator: torch.Generator, rare: Tensor | None
) -> Iterator[Tensor]:
    waiting = torch.empty(0, dtype=torch.long)
    while True:
        order = torch.randperm(images, generator=generator)
        if rare is not None and len(rare):
            chosen = torch.zeros(images, dtype=torch.bool)
            chosen[rare] = True
            common, seldom = order[~chosen[order]], order[chosen[order]]
            count = max(0, round(recipe.rare_share * images) - len(seldom))
            while len(waiting) < count:
                turn = rare[torch.randperm(len(rare), generator=generator)]
                waiting = torch.cat([waiting, turn])
            mixed = torch.cat([common[count:], seldom, waiting[:count]])
            order, waiting = mixed[torch.randperm(images, generator=generator)], waiting[count:]
        batches = list(order.split(recipe.batch_size))
        alone = len(batches[-1]) == 1 and recipe.batch_size > 1
        if not recipe.paper and len(batches) > 1 and alone:
            batches[-2:] = [torch.cat(batches[-2:])]
        yield from batches
