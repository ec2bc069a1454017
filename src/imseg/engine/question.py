"""What can be asked about the costs of training, and what is answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from imseg.engine.device import Numerics
from imseg.engine.job import NetworkSpec
from imseg.ops.photometric import Strength

What = Literal["training", "predicting", "copies"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is measured: a network at work, or images being disturbed."""

    what: What
    """Training (steps and looks at validation images), prediction alone, or disturbed copies."""
    network: NetworkSpec
    """Which network."""
    numerics: Numerics
    """How it is computed."""
    target: dict[str, Any]
    """The target's ``TargetSpec`` as plain values."""
    size: tuple[int, int]
    """Height and width of the images."""
    batch_size: int
    """Images a step."""
    paper: bool = False
    """Whether the reference is followed where it differs from us."""
    judge: bool = False
    """Whether the network judges masks."""
    strength: Strength = field(default_factory=Strength)
    """How far copies are pushed."""
    seconds: float = 0.8
    """How long each thing is repeated, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Seconds and bytes; 0 is what was not asked for."""

    step: float = 0.0
    """Seconds of an optimizer step with a full batch."""
    small_step: float = 0.0
    """The same with a quarter of a batch."""
    first: float = 0.0
    """Seconds that the very first step takes beyond that: memory is handed out by the system."""
    validation: float = 0.0
    """Seconds of a look at one validation image."""
    opening: float = 0.0
    """Seconds for making the optimizer, for the first of which much is loaded."""
    aside: float = 0.0
    """Seconds for making the network and counting its operations."""
    gather: float = 0.0
    """Seconds for bringing one image of a batch to the device."""
    prediction: float = 0.0
    """Seconds of a prediction for one image."""
    decision: float = 0.0
    """Seconds of a vote about one image."""
    copy: float = 0.0
    """Seconds for disturbing one image."""
    memory: int = 0
    """Peak bytes of the process so far."""
    device_memory: int = 0
    """Peak bytes taken on a GPU so far."""
    at_once: int = 0
    """Images of a step whose gradients are computed at once; fewer than a batch if memory is short.
    """
    compiled: bool = False
    """Whether steps were compiled, and that worked."""
