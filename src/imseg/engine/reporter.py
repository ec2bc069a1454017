"""Steps passed on to a listener: not more often than anybody can read, and never waited for."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from imseg.engine.listener import Listener

REPORT_EVERY = 0.5
"""Seconds between two reports of steps."""


class Reporter:
    """Passes steps and their mean loss on.

    A loss on a GPU is copied beside the work and told when it has arrived, at the next report.

    Args:
        listener: Told.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._losses: list[Tensor] = []
        self._coming: tuple[int, Tensor, torch.Event | None] | None = None
        self._last = time.monotonic()

    def step(self, loss: Tensor) -> None:
        """Take note of a step."""
        self._losses.append(loss)
        if time.monotonic() - self._last >= REPORT_EVERY:
            self._tell(wait=False)
            if self._coming is None:
                self._send()
                self._tell(wait=False)
            self._last = time.monotonic()

    def flush(self) -> None:
        """Tell about all steps."""
        self._tell(wait=True)
        self._send()
        self._tell(wait=True)

    def _send(self) -> None:
        """Begin to copy the mean of the losses since the last time."""
        if not self._losses:
            return
        mean, arrived = torch.stack(self._losses).mean(), None
        if mean.is_cuda:
            there = torch.empty((), pin_memory=True).copy_(mean, non_blocking=True)
            arrived = torch.Event(mean.device)
            arrived.record(torch.cuda.current_stream(mean.device))
            mean = there
        self._coming = (len(self._losses), mean, arrived)
        self._losses = []

    def _tell(self, *, wait: bool) -> None:
        """Tell about the steps whose losses have arrived."""
        if self._coming is None:
            return
        steps, mean, arrived = self._coming
        if arrived is not None:
            if wait:
                arrived.synchronize()
            elif not arrived.query():
                return
        self._coming = None
        self._listener.stepped(steps, mean.item())
