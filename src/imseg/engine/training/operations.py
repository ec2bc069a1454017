"""How many floating point operations a training step takes."""

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from imseg.engine.hardware.device import ComputeConfig


def flops_of(
    step: Callable[[nn.Module], Tensor], network: nn.Module, compute: ComputeConfig
) -> int:
    """Return floating point operations of one step, forward and backward; nothing is changed."""
    spare = copy.deepcopy(network).requires_grad_().train()
    counter = OperationCounter()
    with counter, compute.applied():
        step(spare).sum().backward()
    return counter.total


class OperationCounter(TorchDispatchMode):
    """Counts floating point operations while it is entered, by torch's own formulas.

    torch's ``FlopCounterMode`` finds the same number, but loads torch's compiler even where nothing
    is compiled: more than a second in every process that trains.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        """Operations so far."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return whether torch keeps its compiler away from here, for which it would load it."""
        return False

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Make an operation of torch, and count it."""
        named = kwargs or {}
        made = func(*args, **named)
        formula = flop_registry.get(getattr(func, "_overloadpacket", func))
        if formula is not None:
            self.total += formula(*args, **named, out_val=made)
        return made
