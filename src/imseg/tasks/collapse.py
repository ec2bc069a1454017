"""Predictions and labels that are the same almost everywhere, though the truth is not."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from imseg.ops.memory_layout import PixelMask
from imseg.tasks.base import Planes, known_in
from imseg.types import INCONSISTENT, TargetSpec

LEFT = 0.02
"""Share of the variety of people's labels below which pseudo-labels have collapsed.

Variety is what is not of the commonest value of a plane, or the standard deviation of numbers. Poor
teachers miss half of the foreground or draw twice as much; one fiftieth of it is what is left by
those that have learned that the commonest answer is a cheap one. It is a share, so that rare things
count as much as frequent ones.
"""


def sole_value(spec: TargetSpec, least: Float[Tensor, "t"], greatest: Float[Tensor, "t"]) -> str:
    """Return in words the one thing that is predicted everywhere; empty where there are several.

    Args:
        spec: What mask values mean.
        least: The least value of each plane over all predictions, in inside numbering.
        greatest: The greatest.
    """
    if spec.kind == "regression" or bool((least < greatest).any()):
        return ""
    values = [int(value) for value in least.tolist()]
    if spec.kind != "multilabel":
        return f"nothing but {_name(spec, values[0])}"
    shown = [name for name, value in zip(spec.names, values, strict=True) if value]
    return f"everywhere {' and '.join(shown)}" if shown else "no label at all"


def census(spec: TargetSpec, planes: Planes, counted: PixelMask) -> Float[Tensor, "t n"]:
    """Return what adds up over images and is all that ``collapsed`` needs, on the CPU.

    Of numbers how many there are, their sum and the sum of their squares; of classes and labels how
    many pixels of a plane have each value, from 0 on. Void is left out.

    Args:
        spec: What the values mean.
        planes: Labels, in inside numbering.
        counted: Pixels that count.
    """
    known = known_in(planes) & counted
    if spec.kind == "regression":
        numbers = planes[known].double()
        moments = [known.sum().double(), numbers.sum(), numbers.square().sum()]
        return torch.stack(moments).unsqueeze(0).cpu()
    values = spec.outputs if spec.kind == "multiclass" else 2
    rows = [
        torch.bincount(planes[:, t][known[:, t]].long(), minlength=values)
        for t in range(planes.shape[1])
    ]
    return torch.stack(rows).double().cpu()


def collapsed(spec: TargetSpec, made: Float[Tensor, "t n"], drawn: Float[Tensor, "t n"]) -> str:
    """Return in words that pseudo-labels have collapsed to one value, though people's have not.

    Empty where they have not. Of several areas all that people use have to; marks of
    centers are redrawn, and borders follow their areas. Where people's labels
    have one value alone, or there are none, nothing can be said.

    Args:
        spec: What values mean.
        made: The census of pseudo-labels.
        drawn: That of the labels that people made.
    """
    if spec.kind == "regression":
        here, there = (_deviation(each[0]) for each in (made, drawn))
        if not (here < LEFT * there):
            return ""
        scale = spec.high - spec.low
        both = f"{here * scale:.2g} against {there * scale:.2g} {spec.unit}".rstrip()
        return f"they hardly vary (standard deviation {both} of labels that people made)"
    found = []
    for plane in spec.areas if spec.kind == "multilabel" else (0,):
        counts, theirs = made[plane], drawn[plane]
        if not counts.sum() or not theirs.sum():
            continue
        common = int(counts.argmax())
        rest, their_rest = (1 - float(each[common] / each.sum()) for each in (counts, theirs))
        if rest >= LEFT * their_rest:
            if their_rest > 0:
                return ""
            continue
        marked = f"{'with' if common else 'without'} {spec.names[plane]}"
        name = marked if spec.kind == "multilabel" else _name(spec, common)
        found.append(f"{1 - rest:.2%} of their pixels are {name}, of people's {1 - their_rest:.2%}")
    return "; ".join(found)


def _name(spec: TargetSpec, value: int) -> str:
    if spec.kind == "multiclass" and value == INCONSISTENT:
        return "inconsistent"
    return spec.names[value - spec.first_index]


def _deviation(moments: Float[Tensor, "3"]) -> float:
    """Return the standard deviation; not a number where there are no numbers."""
    count, total, squares = moments.tolist()
    if not count:
        return math.nan
    return math.sqrt(max(0.0, squares / count - (total / count) ** 2))
