"""Numbers as people read them."""

from __future__ import annotations

import math
from typing import Any

from imseg.tasks import Metric

MINUS, DASH, SPACE = "\N{MINUS SIGN}", "\N{EN DASH}", "\N{NO-BREAK SPACE}"
_ASCII = str.maketrans({MINUS: "-", DASH: "-", SPACE: " ", "\N{PLUS-MINUS SIGN}": "+-"})


def as_ascii(text: str) -> str:
    """Return numbers as every terminal shows them."""
    return text.translate(_ASCII)


def is_number(value: Any) -> bool:
    """Return whether there is a value, and it is not "not a number"."""
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def percent(value: float | None, digits: int = 1) -> str:
    """Return ``7.1 %``; an en dash where there is nothing."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:.{digits}%}".replace("%", f"{SPACE}%").replace("-", MINUS)


def whole_percent(value: float | None) -> str:
    """Return ``7 %``."""
    return percent(value, 0)


def share(value: float) -> str:
    """Return ``0.712``."""
    return f"{value:.3f}".replace("-", MINUS)


def whole(value: float) -> str:
    """Return ``1,412``."""
    return f"{value:,.0f}"


def four_digits(value: float) -> str:
    """Return ``0.7123``, or four digits of a number that is very large or very small."""
    return f"{value:.4f}" if value == 0 or 0.001 <= abs(value) < 1000 else f"{value:.4g}"


def short(value: float, metric: Metric) -> str:
    """Return a score without its unit."""
    return _digits(value, metric).replace("-", MINUS) if math.isfinite(value) else DASH


def score(value: float, metric: Metric) -> str:
    """Return a score with its unit: ``0.712``, ``3.46 m``."""
    return f"{short(value, metric)} {metric.unit}".rstrip()


def signed(value: float, metric: Metric) -> str:
    """Return a difference with its sign."""
    return (MINUS if value < 0 else "+") + _digits(abs(value), metric)


def between(low: float, high: float, metric: Metric, *, sign: bool = False) -> str:
    """Return ``0.68 to 0.73``."""
    as_text = signed if sign else short
    return f"{as_text(low, metric)} to {as_text(high, metric)}"


def with_unit(metric: Metric, *, inside: str = " in {}") -> str:
    """Return what a score is called, and its unit if it has one: ``RMSE in m``."""
    return metric.label + (inside.format(metric.unit) if metric.unit else "")


def count(number: int, noun: str) -> str:
    """Return ``1 image``, ``1,412 images``."""
    ending = "" if number == 1 else "es" if noun.endswith("ch") else "s"
    return f"{number:,} {noun}{ending}"


def in_words(names: list[str]) -> str:
    """Return ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def minutes(seconds: float) -> str:
    """Return ``48 s``, ``1.5 min``, ``12 min`` or ``3.2 h``."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
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
