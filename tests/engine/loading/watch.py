"""Looks over torch's shoulder: what would make the host wait for a device, without having one.

Tensors of the ``meta`` device stand for those of a GPU: they have no values, so whatever asks for
one fails at once; and it is seen what goes from one device to the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ASKING = {
    "_local_scalar_dense", "_unique", "_unique2", "bincount", "equal", "histc", "is_nonzero",
    "item", "masked_select", "nonzero", "repeat_interleave", "unique_consecutive", "unique_dim",
}  # fmt: skip
"""What reads values or has a result whose size depends on values."""
PICKING = {"index", "index_put", "index_put_", "_index_put_impl_"}
"""The same where pixels are picked by a mask."""

LISTING = {torch.tensor, torch.as_tensor, torch.asarray}
"""What makes tensors from numbers of Python, which are then sent."""


class Watch(TorchDispatchMode):
    """Counts what crosses from the host to a device, and refuses what waits for the device.

    Args:
        device: Type of the device; ``cpu`` takes everything for the device's.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device
        self.crossings: Counter[str] = Counter()
        self.seen = 0
        self._listing = _Listing(self)

    def __enter__(self) -> Watch:
        self._listing.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *what: Any) -> None:
        super().__exit__(*what)
        self._listing.__exit__(*what)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = list(self._tensors((args, kwargs)))
        name = func.overloadpacket.__name__
        there = [tensor for tensor in given if tensor.device.type == self.device]
        made = [tensor for tensor in self._tensors(result) if tensor.device.type == self.device]
        if there or made:
            self.seen += 1
        if there:
            picked = name in PICKING and any(tensor.dtype == torch.bool for tensor in given[1:])
            if name in ASKING or picked:
                raise AssertionError(f"{func} waits for the device")
        # A number in a tensor without axes is handed over with the call.
        here = [each for each in given if each.device.type != self.device and each.ndim]
        if here and made:
            self.crossings[name] += 1
        return result

    @staticmethod
    def _tensors(values: Any) -> Iterator[Tensor]:
        return (leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor))


class _Listing(TorchFunctionMode):
    """Sees tensors made from numbers, which no operator is called for."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in LISTING and result.device.type == self._watch.device != "cpu":
            self._watch.crossings[func.__name__] += 1
        return result
