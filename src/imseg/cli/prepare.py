"""``imseg prepare``: a public data set as it is downloaded, into the folder layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imseg.cli.options import Json


def prepare(
    name: Annotated[str, typer.Argument(help="isic2018 (2017 works too).", show_default=False)],
    raw: Annotated[Path, typer.Argument(help="The unpacked download.", show_default=False)],
    out: Annotated[Path, typer.Option(help="A new folder for the data.", show_default=False)],
    labeled: Annotated[
        float, typer.Option(help="Share of the training images that keep their masks.")
    ] = 0.1,
    seed: Annotated[int, typer.Option(help="Which images those are.")] = 0,
    json: Json = False,
) -> int:
    """Sort a downloaded data set into labeled, unlabeled, val and test. Nothing is downloaded."""
    import dataclasses

    from imseg.cli import show
    from imseg.data.prepare import find_data_set

    chosen = find_data_set(name)
    with show.Bars() as bars:
        show.say(f"The data goes to {out}")
        counts = chosen(
            raw,
            out,
            labeled=labeled,
            seed=seed,
            progress=lambda d, t: bars.counted("copying", d, t),
        )
    if json:
        show.show_json({"out": str(out), **dataclasses.asdict(counts)})
        return 0
    print(
        f"{out}: {counts.labeled} labeled, {counts.unlabeled} unlabeled, {counts.val} val,"
        f" {counts.test} test ({counts.source})"
    )
    if counts.test_from_validation:
        print("There is no test folder, so val and test are shares of the official validation.")
    print(f"Next: imseg check {out}")
    return 0
