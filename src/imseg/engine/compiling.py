"""Compiled training steps: the same network, translated into fewer passes over memory.

Compiling takes 10 to 50 seconds, so whether it pays is settled once, before a run starts; see
``approaches/budget.py``. What fails is said, and training goes on without.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from imseg.engine.device import Numerics
from imseg.engine.lessons import Forward

_compiled_before: set[tuple[Any, ...]] = set()
"""Shapes that were compiled in this process. torch stops compiling after a few of them."""
MOST_SHAPES = 4
_failed: set[type[nn.Module]] = set()
"""Networks that could not be compiled in this process."""


class Compiled:
    """A network whose steps over whole batches are compiled.

    Other batches, such as the last of an epoch, go through the plain network: each size would be
    compiled anew.

    Args:
        network: The plain network, whose weights are trained either way.
        numerics: Whether it is compiled.
        batch_size: Images of a whole batch.
    """

    def __init__(self, network: nn.Module, numerics: Numerics, *, batch_size: int) -> None:
        self._plain = network
        self._batch_size = batch_size
        self._compiled: Forward | None = None
        self._proven = False
        if numerics.compile and type(network) not in _failed:
            _make_room(network, numerics, batch_size)
            # Not the module: its hooks, which say that the work goes on, are not to be compiled.
            self._compiled = torch.compile(network.forward, dynamic=False)

    def forward(self, samples: int) -> Forward:
        """Return what is called with a batch of so many samples."""
        if self._compiled is None or samples != self._batch_size:
            return self._plain
        return self._compiled

    def on_trial(self, samples: int) -> bool:
        """Return whether an error may come from compiling: no compiled step has worked yet."""
        whole = samples == self._batch_size
        return self._compiled is not None and whole and not self._proven

    @property
    def works(self) -> bool:
        """Whether steps are compiled, as far as is known."""
        return self._compiled is not None

    def proven(self) -> None:
        """Take note that a compiled step worked."""
        self._proven = True

    def give_up(self) -> None:
        """Go on with the plain network, and do not try again in this process."""
        self._compiled = None
        _failed.add(type(self._plain))


def _make_room(network: nn.Module, numerics: Numerics, batch_size: int) -> None:
    """Forget earlier compilations before torch finds that there are too many."""
    weights = tuple(tuple(weight.shape) for weight in network.parameters())
    shape = (weights, numerics, batch_size)
    if shape not in _compiled_before and len(_compiled_before) >= MOST_SHAPES:
        torch.compiler.reset()
        _compiled_before.clear()
    _compiled_before.add(shape)
