"""What a plan has settled an option to, wherever in it the option stands."""

from __future__ import annotations

import dataclasses
from typing import Any

from imseg.approaches.planning.plan import Plan
from imseg.options import options_of, walk


def settled(plan: Plan, name: str) -> Any:
    """Return the value of an option in a plan: in its approach, else in the plan as a whole.

    Its starts, which have values of their own, are left aside. It is one value: components that
    share an option have the same.
    """
    approach = plan.approach
    parts = [approach]
    for entry in dataclasses.fields(approach):
        value = getattr(approach, entry.name)
        if entry.name not in ("start", "scorer_start") and dataclasses.is_dataclass(value):
            parts += walk(value)
    found = [
        getattr(part, field)
        for part in parts
        for field, one in options_of(type(part)).items()
        if one.name == name
    ]
    if not found:
        found = [plan.compute.precision if name == "precision" else getattr(plan, name)]
    if name == "fresh_copies" and not approach.labeled.copies:
        found = found[1:] or found  # those of pseudo-labeled images alone
    return found[0]
