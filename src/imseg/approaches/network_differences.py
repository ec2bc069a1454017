"""A network and the same one trained again, compared to the bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from imseg.approaches.plan import Plan
from imseg.approaches.provenance import surroundings
from imseg.engine.job import Trained
from imseg.engine.runs import RunFolder
from imseg.engine.sealed import read_json
from imseg.errors import ImsegError

COMPARED = ("scores", "epoch_scores", "losses", "best_epoch", "steps", "images")
"""What is compared of what is known about a network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Something that differs between a network and the same one trained again."""

    what: str
    """What differs."""
    then: Any
    """What it was, as a plain value."""
    now: Any
    """What it is, as a plain value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrained:
    """A network and the same one, trained again."""

    network: str
    """Its place in the run."""
    same_weights: bool
    """Whether all weights are the same to the bit."""
    same_job: bool
    """Whether both were trained on the same, by the hash of all that decides the result."""
    weights: tuple[str, ...]
    """Tensors that differ."""
    tensors: int
    """All tensors."""
    most: float
    """The largest difference of a weight; 0 where none differs."""
    known: tuple[Difference, ...]
    """What differs in scores, losses and steps."""
    surroundings: tuple[Difference, ...]
    """What differs in versions and machine from those of the run's first call."""
    device: str
    """Where both were trained."""
    precision: str
    """Type of activations of both."""

    @property
    def same(self) -> bool:
        """Whether weights and scores are the same to the bit."""
        return self.same_weights and not self.known

    @property
    def exact(self) -> bool:
        """Whether equal bits are promised, with equal versions on the same machine."""
        return self.device == "cpu" and self.precision == "float32"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""

        def plain(found: Sequence[Difference]) -> dict[str, Any]:
            return {each.what: {"then": each.then, "now": each.now} for each in found}

        return {
            "network": self.network,
            "same": self.same,
            "same_weights": self.same_weights,
            "same_job": self.same_job,
            "differing_tensors": list(self.weights),
            "tensors": self.tensors,
            "largest_difference": self.most,
            "differing_scores": plain(self.known),
            "differing_surroundings": plain(self.surroundings),
            "device": self.device,
            "precision": self.precision,
        }


def compare_networks(
    folder: RunFolder, copy: RunFolder, then: Trained, now: Trained, plan: Plan
) -> Retrained:
    """Return how a network differs from the same one, trained again.

    Args:
        folder: The run.
        copy: Where it was trained again.
        then: What was known about it.
        now: What is known about it now.
        plan: How both were trained.
    """
    names, tensors, most = differing_weights(folder.weights(then.name), copy.weights(then.name))
    known = [
        Difference(what=name, then=before, now=after)
        for name in COMPARED
        if repr(before := getattr(then, name)) != repr(after := getattr(now, name))
    ]
    return Retrained(
        network=then.name,
        same_weights=not names,
        same_job=then.job == now.job,
        weights=tuple(names),
        tensors=tensors,
        most=most,
        known=tuple(known),
        surroundings=differing_surroundings(folder),
        device=plan.device,
        precision=plan.precision,
    )


def differing_weights(one: Path, other: Path) -> tuple[list[str], int, float]:
    """Return the tensors of two files that differ, how many there are, and by how much at most.

    Args:
        one: Weights as safetensors.
        other: Others. Tensors that only one of the files has, or of another shape, differ by
            infinity.
    """
    ours, theirs = load_file(one), load_file(other)
    names = sorted({*ours, *theirs})
    if one.read_bytes() == other.read_bytes():
        return [], len(names), 0.0
    differing, most = [], 0.0
    for name in names:
        a, b = ours.get(name), theirs.get(name)
        if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype:
            differing.append(name)
            most = float("inf")
        elif not torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8)):
            differing.append(name)
            most = max(most, (a.double() - b.double()).abs().max().item())
    return differing, len(names), most


def differing_surroundings(folder: RunFolder) -> tuple[Difference, ...]:
    """Return what differs here and now in versions and machine from those of a run."""
    try:
        known = read_json(folder.provenance)
    except ImsegError:
        return ()
    then, now = _flat(known), _flat(surroundings())
    return tuple(
        Difference(what=name, then=then.get(name), now=value)
        for name, value in now.items()
        if then.get(name) != value
    )


def _flat(content: Mapping[str, Any]) -> dict[str, Any]:
    commit = (content.get("git") or {}).get("commit")
    names = ("python", "machine", "cores", "cpu", "gpu")
    return {
        **{f"version of {name}": value for name, value in content.get("versions", {}).items()},
        "commit of imseg": commit,
        **{name: content.get(name) for name in names},
    }
