"""``imseg predict``: masks for new images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imseg.cli.options import Device, Ensemble, Json, Network, RunPath

MOST_SHOWN = 5
"""Most inconsistent pictures that are named."""


def predict(
    run: RunPath,
    images: Annotated[
        Path, typer.Argument(help="A picture, or a folder of pictures.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Where masks go, as PNG.", show_default=False)],
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also draw masks on pictures, in OUT/overlays.")
    ] = False,
    inconsistency: Annotated[
        bool,
        typer.Option(
            "--inconsistency", help="Also write where networks disagree, in OUT/inconsistency."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace masks that are there already.")
    ] = False,
    pixel_size: Annotated[
        float | None,
        typer.Option(help="Micrometers a pixel, for areas.  [default: as in the training data]"),
    ] = None,
    ensemble: Ensemble = 1,
    network: Network = None,
    device: Device = "auto",
    json: Json = False,
) -> int:
    """Write masks at the images' own sizes, in the values of the masks the run was trained on."""
    import dataclasses

    from imseg.approaches.run import load_run
    from imseg.cli import show
    from imseg.data.config import LARGEST_PIXEL
    from imseg.data.encoding import describe_values
    from imseg.errors import ImsegError, shown
    from imseg.report.masks import write_predictions
    from imseg.report.measure import COUNTS_NAME, FILE_NAME

    if pixel_size is not None and not 0 < pixel_size <= LARGEST_PIXEL:
        raise ImsegError(
            "--pixel-size is out of range.",
            expected=f"micrometers above 0, at most {LARGEST_PIXEL:g}.",
            got=f"{pixel_size}.",
        )
    opened = load_run(run)
    if opened.start_was_better and not network:
        show.say(f"note: --network {opened.best_of_start} was better on validation")
    with show.Bars() as bars:
        written = write_predictions(
            opened,
            images,
            out,
            overlay=overlay,
            inconsistency=inconsistency,
            networks=[network] if network else opened.members(ensemble),
            device=device,
            overwrite=overwrite,
            pixel_size=pixel_size,
            progress=lambda d, t: bars.counted("predicting", d, t),
        )
    if json:
        show.show_json({"out": str(out), "masks": [dataclasses.asdict(each) for each in written]})
        return 0
    masks = f"{len(written)} mask{'s' * (len(written) != 1)}"
    print(f"{masks} in {shown(out)}: {shown(describe_values(opened.spec))}")
    tables = [out / name for name in (FILE_NAME, COUNTS_NAME) if (out / name).exists()]
    if tables:
        print(f"Areas, counts or means: {', '.join(map(shown, tables))}")
    if inconsistency:
        print("Most inconsistent, so worth labeling next:")
        for each in written[:MOST_SHOWN]:
            print(f"  {each.inconsistent:6.1%}  {shown(each.image)}")
    return 0
