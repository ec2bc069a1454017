"""One label a pixel from several opinions about it: the mean, the majority, or all alike.

Opinions come from several teachers, or from one teacher about several views of an image.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from imseg.errors import ImsegError
from imseg.tasks.base import Pool
from imseg.types import INCONSISTENT, TargetSpec

THRESHOLD = 0.5
"""There is something where its probability is above this (or, where the paper says so, at it)."""

POSSIBLE: dict[str, tuple[Pool, ...]] = {
    "binary": ("paper", "mean", "majority", "unanimous"),
    "multiclass": ("paper", "mean", "majority"),
    "multilabel": ("paper", "mean", "majority", "unanimous"),
    "regression": ("paper", "mean"),
}
"""How opinions about each kind of target can be pooled."""


def check_pool(spec: TargetSpec, how: Pool) -> None:
    """Refuse a way of pooling that does not go with the kind of target.

    Args:
        spec: What mask values mean.
        how: The way.

    Raises:
        ImsegError: If it is none of ``POSSIBLE``.
    """
    possible = POSSIBLE[spec.kind]
    if how in possible:
        return
    if spec.kind == "multiclass":
        # A pixel without a unanimous class would be taught as output 0, with nothing to blame.
        what = "Networks cannot vote unanimously on classes: where they differ there is no label."
        hint = "--approach im, which masks those pixels; or --vote majority."
    else:
        what = f"There is no {how} vote on numbers: hardly two networks say the same one."
        hint = "--vote mean."
    raise ImsegError(what, expected=f"a vote that is {' or '.join(possible)}.", got=how, hint=hint)


def pool_foreground(
    probabilities: Float[Tensor, "v b t h w"], *, how: Pool, at_threshold: bool
) -> UInt8[Tensor, "b t h w"]:
    """Return 1 where the opinions together say that there is something, plane by plane.

    Args:
        probabilities: Of the same pixels, 0..1.
        how: ``mean``, ``majority`` (more than half) or ``unanimous``.
        at_threshold: Whether a probability of exactly one half says so too.
    """
    if how == "mean":
        probabilities = probabilities.mean(dim=0, keepdim=True)
    says = probabilities >= THRESHOLD if at_threshold else probabilities > THRESHOLD
    needed = len(says) if how == "unanimous" else len(says) // 2 + 1
    return (says.sum(dim=0) >= needed).to(torch.uint8)


def pool_classes(
    probabilities: Float[Tensor, "v b k h w"], *, how: Pool, reserved_too: bool
) -> UInt8[Tensor, "b 1 h w"]:
    """Return the class on which the opinions settle.

    Args:
        probabilities: Of the same pixels, 0..1.
        how: ``mean``, or ``majority``: the class that most say; of several such classes the one of
            the greatest mean probability.
        reserved_too: Whether output 0, "inconsistent", competes.
    """
    first = INCONSISTENT if reserved_too else INCONSISTENT + 1
    merit = probabilities[:, :, first:].mean(dim=0)
    if how == "majority":
        said = probabilities[:, :, first:].argmax(dim=2, keepdim=True)
        # Means decide between equal counts and never outweigh a vote: they lie less than 1 apart.
        for one in said:
            merit.scatter_add_(1, one, torch.ones_like(merit[:, :1]))
    return (merit.argmax(dim=1, keepdim=True) + first).to(torch.uint8)
