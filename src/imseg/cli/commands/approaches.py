"""``imseg approaches`` and ``imseg explain``: what there is to choose from."""

from __future__ import annotations

from typing import Annotated

import typer

from imseg.cli.arguments import Json


def approaches(json: Json = False) -> int:
    """List all approaches, each with one plain sentence."""
    from imseg.approaches.methods.catalog import APPROACHES
    from imseg.cli import show

    if json:
        show.show_json({name: each.summary for name, each in APPROACHES.items()})
        return 0
    for name, each in APPROACHES.items():
        print(f"{name:<15} {each.summary}")
    return 0


def explain(
    name: Annotated[str, typer.Argument(help="See `imseg approaches`.", show_default=False)],
    json: Json = False,
) -> int:
    """Show what an approach does and how it differs from the one it comes from."""
    from imseg.approaches.methods.catalog import find_approach
    from imseg.approaches.methods.explain import explain_approach
    from imseg.cli import show

    explained = explain_approach(find_approach(name))
    if json:
        show.show_json(explained.as_dict())
    else:
        print(explained.as_text())
    return 0
