"""Numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from imseg.tasks import Metric

Interval = Sequence[float]
"""Lower and upper end."""

MINUS = "\N{MINUS SIGN}"


def share(value: float | None, digits: int = 3) -> str:
    """Return ``0.712``; an en dash where there is nothing."""
    if value is None or not math.isfinite(value):
        return "\N{EN DASH}"
    return f"{value:.{digits}f}".replace("-", MINUS)


def percent(value: float | None) -> str:
    """Return ``7.1 %``."""
    if value is None or not math.isfinite(value):
        return "\N{EN DASH}"
    return f"{value:.1%}".replace("%", "\N{NO-BREAK SPACE}%")


def short(value: float, metric: Metric) -> str:
    """Return a score without its unit."""
    if not math.isfinite(value):
        return "\N{EN DASH}"
    return _digits(value, metric).replace("-", MINUS)


def score(value: float, metric: Metric) -> str:
    """Return a score with its unit: ``0.712``, ``3.46 m``."""
    return f"{short(value, metric)} {metric.unit}".rstrip()


def whole_percent(value: float | None) -> str:
    """Return ``7 %``."""
    if value is None or not math.isfinite(value):
        return "\N{EN DASH}"
    return f"{value:.0%}".replace("%", "\N{NO-BREAK SPACE}%").replace("-", MINUS)


def signed(value: float, metric: Metric) -> str:
    """Return a difference with its sign."""
    sign = MINUS if value < 0 else "+"
    return sign + _digits(abs(value), metric)


def between(interval: Interval, metric: Metric, *, sign: bool = False) -> str:
    """Return ``0.68 to 0.73``."""
    as_text = signed if sign else short
    return f"{as_text(interval[0], metric)} to {as_text(interval[1], metric)}"


def count(number: int, noun: str) -> str:
    """Return ``1 image``, ``1,412 images``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def minutes(seconds: float) -> str:
    """Return ``48 s``, ``1.5 min``, ``12 min`` or ``3.2 h``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min" if seconds < 570 else f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def operations(flops: float) -> str:
    """Return ``18.4 TFLOP``: floating point operations of a training."""
    for size, name in ((1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP")):
        if flops >= size:
            return f"{flops / size:.3g} {name}"
    return f"{flops / 1e6:.3g} MFLOP"


def _digits(value: float, metric: Metric) -> str:
    if metric.higher_is_better and not metric.unit:
        return f"{value:.3f}"
    # Errors can have any unit: three digits, not more and not fewer.
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")
