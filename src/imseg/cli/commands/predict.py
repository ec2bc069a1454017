"""``imseg evaluate``, ``predict`` and ``report``: what a finished run is good for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imseg.cli import arguments, show
from imseg.data.files.listing import counted
from imseg.data.folder.config import LARGEST_PIXEL
from imseg.errors import ImsegError, and_more, shown

if TYPE_CHECKING:
    from imseg.approaches.planning.plan import Plan
    from imseg.approaches.runs.run import Run
    from imseg.report.predictions.places import Written
    from imseg.types import Image, Reading, TargetSpec


def evaluate(
    run: arguments.RunPath,
    data: arguments.Data,
    split: Annotated[str, typer.Option(help="test, val or labeled.")] = "test",
    ensemble: arguments.Ensemble = 1,
    network: arguments.Network = None,
    tta: arguments.Tta = None,
    trust_network: arguments.TrustNetwork = False,
    pictures: Annotated[
        Path | None, typer.Option(help="Draw the best, middle and worst images into this PNG.")
    ] = None,
    follow_links: arguments.FollowLinks = False,
    device: arguments.Device = "auto",
    json: arguments.Json = False,
) -> int:
    """Show scores with their 95 % intervals: means over images, and over all pixels together."""
    from imseg.approaches.runs.orientations import Orientations, pixel_size_notes
    from imseg.approaches.runs.run import load_run
    from imseg.data.folder.scan import read_folder
    from imseg.data.masks.recognize import word_of
    from imseg.report.figures import gallery, save
    from imseg.report.tables import audit_table, evaluation_text, judgment_text

    opened = load_run(run, trust_network=trust_network)
    names = [network] if network else opened.members(ensemble)
    _note(_better_start(opened, network))
    show.say(f"{run} was trained for {opened.spec.in_words}")
    seen = Orientations(moves=opened.plan.moves(tta))
    _note(seen.text)
    with show.Bars() as bars:
        dataset = read_folder(
            data,
            task=word_of(opened.spec),
            follow_links=follow_links,
            progress=partial(bars.counted, "checking images"),
        )
        for text in pixel_size_notes(opened.plan, (pair.image for pair in getattr(dataset, split))):
            show.say(f"note: {text}")
        found = opened.evaluate(
            dataset,
            split,
            networks=names,
            tta=tta,
            device=device,
            progress=partial(bars.counted, "evaluating"),
        )
    if follow_links:
        show.say(f"note: links that lead out of {data} were read, because of --follow-links")
    if split != "test":
        use = "learned from" if split == "labeled" else "was chosen by"
        show.say(
            f"warning: a run trained on this folder {use} {split}; only test is an honest score"
        )
    if dataset.spec.names != opened.spec.names:
        theirs, ours = (shown(", ".join(each.spec.names)) for each in (dataset, opened))
        show.say(f"warning: the classes here are {theirs}; the run was trained on {ours}")
    if pictures is not None:
        save(pictures, gallery(opened, getattr(dataset, split), found, networks=names))
    parts = [
        f"{', '.join(names)} of {shown(run)} on {split}",
        evaluation_text(found),
        audit_table(opened),
        judgment_text(opened),
    ]
    if pictures is not None:
        parts.append(f"Pictures, from best to worst: {shown(pictures)}")
    content = {**found.as_dict(), "split": split, "networks": names}
    content |= {"audits": opened.audits, "judgment": opened.judgment}
    return show.show_result("\n\n".join(part for part in parts if part), content, as_json=json)


MOST_SHOWN = 5
"""Most inconsistent pictures that are named."""


def predict(
    run: arguments.RunPath,
    images: Annotated[Path, typer.Argument(help="A picture, or a folder of pictures.")],
    out: Annotated[Path, typer.Option(help="Where masks go, as PNG.")],
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also draw masks on pictures, in OUT/overlays.")
    ] = False,
    inconsistency: Annotated[
        bool,
        typer.Option(
            "--inconsistency", help="Also write where networks disagree, in OUT/inconsistency."
        ),
    ] = False,
    recursive: Annotated[
        bool,
        typer.Option("--recursive", help="Go into subfolders too; OUT gets the same subfolders."),
    ] = False,
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad",
            help="Go on without pictures that cannot be read, and list them in OUT/skipped.csv.",
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace masks that are there already.")
    ] = False,
    pixel_size: Annotated[
        float | None,
        typer.Option(
            help="Micrometers on a side of a pixel of all pictures, for areas and, where the run"
            " knows sizes of pixels, for the scale.  [default: as imseg.toml or the file says; for"
            " areas else as in the training data]"
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            help="Scale at which pictures are seen, tile by tile; 1: full size; 0: each whole."
            "  [default: as in training; micrographs twice as high and wide as those learned from"
            " are seen at the same scale, tile by tile, and where the run knows sizes of pixels,"
            " all by theirs]"
        ),
    ] = None,
    ensemble: arguments.Ensemble = 1,
    network: arguments.Network = None,
    tta: arguments.Tta = None,
    trust_network: arguments.TrustNetwork = False,
    device: arguments.Device = "auto",
    executor: arguments.Executor = "auto",
    address: arguments.Address = None,
    json: arguments.Json = False,
) -> int:
    """Write masks at the images' own sizes, in the values of the masks the run was trained on.

    Says which files and folders were passed over. With --skip-bad the exit status is 0 if at least
    one picture was predicted. --tta is left out by itself where a picture would take a second.
    """
    from imseg.approaches.runs.orientations import check_scale
    from imseg.approaches.runs.run import load_run
    from imseg.data.files.picture_list import find_pictures
    from imseg.engine.workers.choice import nodes_named
    from imseg.report.predictions import places, writing

    _check_pixel_size(pixel_size)
    opened = load_run(run, trust_network=trust_network)
    check_scale(opened.plan, scale)
    _note(_better_start(opened, network))
    asks = opened.asks_files
    found = find_pictures(images, recursive=recursive, out=out, skip_bad=skip_bad, ask_files=asks)
    for text in found.passed_over_text():
        show.say(f"warning: {text}")
    skipped = {name: f"{name} {why}." for name, why in found.unusable.items()}

    def left_out(image: Image, error: ImsegError) -> None:
        skipped[image.name] = str(error)

    names = [network] if network else opened.members(ensemble)
    seen = opened.orientations(tta=tta, networks=names, disagreement=inconsistency, device=device)
    _note(seen.text)
    _tell_scales(opened, found.with_pixel_size(pixel_size).images, scale)
    with nodes_named(executor, address, place=run, device=device) as nodes, show.Bars() as bars:
        written = writing.write_predictions(
            opened,
            found,
            out,
            overlay=overlay,
            inconsistency=inconsistency,
            networks=names,
            tta=tta,
            seen=seen,
            scale=scale,
            device=device,
            overwrite=overwrite,
            pixel_size=pixel_size,
            skip=left_out if skip_bad else None,
            progress=partial(bars.counted, "predicting"),
            rows=lambda name, done, rows: bars.counted(f"rows of {shown(name)}", done, rows),
            continued=_going_on,
            spread=nodes,
        )
    lines = written_text(written, out, opened.spec, overlay=overlay, inconsistency=inconsistency)
    beside = [places.OVERLAYS] * overlay + [places.INCONSISTENCY] * inconsistency
    if others := places.others_beside(written, out, opened.spec, beside=beside):
        text = f"pictures that this prediction did not write: {and_more(others)}"
        show.say(f"warning: {out} also has {text}")
    lines += _left_out_text(skipped, out / places.SKIPPED_NAME)
    passed = [(len(found.others), "file"), (len(found.folders), "folder")]
    if counts := [counted(count, noun) for count, noun in passed if count]:
        lines.append(f"Passed over: {' and '.join(counts)} (see the warnings)")
    content = {
        "out": str(out),
        "orientations": len(seen.moves),
        "masks": [asdict(each) for each in written],
        "skipped": [{"image": name, "reason": text} for name, text in skipped.items()],
        "passed_over": found.passed_over(),
    }
    return show.show_result("\n".join(lines), content, as_json=json)


def _note(text: str) -> None:
    if text:
        show.say(f"note: {text}")


def _better_start(run: Run, network: str | None) -> str:
    """Return which network was better than the one that is taken if none was asked for."""
    better = run.start_was_better and not network
    return f"--network {run.best_of_start} was better on validation" if better else ""


def _tell_scales(run: Run, images: Sequence[Image], scale: float | None) -> None:
    """Say which pictures are seen at another scale than most in training, if none was asked for."""
    from imseg.approaches.runs.orientations import pixel_size_notes

    if scale is not None:
        return
    for text in pixel_size_notes(run.plan, images):
        show.say(f"note: {text}")
    if text := larger_text(run.plan, run.reading, images):
        show.say(text)


def _going_on(done: int, total: int) -> None:
    show.say(f"note: going on after {done} of {counted(total, 'picture')}")


def _left_out_text(skipped: Mapping[str, str], table: Path) -> list[str]:
    """Return lines about pictures that were left out: why, by name, and where all are listed."""
    if not skipped:
        return []
    count, first = len(skipped), list(skipped.values())[:MOST_SHOWN]
    lines = [f"Left out, because they cannot be read: {count}, listed in {shown(table)}:"]
    lines += [f"  {shown(text, lines=True)}" for text in first]
    return lines + [f"  and {count - MOST_SHOWN} more"] * (count > MOST_SHOWN)


def _check_pixel_size(size: float | None) -> None:
    if size is not None and not 0 < size <= LARGEST_PIXEL:
        raise ImsegError(
            "--pixel-size is out of range.",
            expected=f"micrometers above 0, at most {LARGEST_PIXEL:g}.",
            got=f"{size}.",
            hint="--pixel-size 0.65, or leave it out.",
        )


def larger_text(plan: Plan, reading: Reading, images: Sequence[Image]) -> str:
    """Return what there is to say about pictures much larger than those learned from.

    Args:
        plan: Of the run.
        reading: How it reads pictures.
        images: What will be predicted.
    """
    from imseg.data.images.by_rows import probe

    def is_larger(image: Image) -> bool:
        with suppress(ImsegError):  # it is told when the picture is read
            return isinstance(image.pixels, Path) and plan.is_larger(
                probe(image.pixels, pages=reading.pages).size
            )
        return False

    if plan.tiles is not None or plan.scheme is None:
        return ""
    larger = [each.name for each in images if is_larger(each)]
    if not larger:
        return ""
    usual = "up to {1}x{0} px".format(*(plan.largest_size or ()))
    what = f"{counted(len(larger), 'picture is', 'pictures are')} much larger than those learned"
    what += f" from ({usual}): {and_more(larger)}."
    if plan.same_scale:
        return (
            f"note: {what} They are seen at the same scale, tile by tile; --scale 0 shows each of"
            " them whole, as if it were one of those."
        )
    height, width = plan.image_size
    return (
        f"warning: {what} Each is seen whole, at {width}x{height} px. If they show more at the same"
        f" scale: --scale {plan.scheme.scale:.2g} looks at them tile by tile."
    )


def written_text(
    written: Sequence[Written], out: Path, spec: TargetSpec, *, overlay: bool, inconsistency: bool
) -> list[str]:
    """Return what was written where."""
    from imseg.data.masks.io import describe_values
    from imseg.report.predictions import measurements
    from imseg.report.predictions import places as names

    written_spec = replace(spec, void=None)  # networks decide everywhere
    names_of = and_more(sorted(each.image for each in written))
    lines = [
        f"{counted(len(written), 'mask')} in {shown(out)}: {shown(describe_values(written_spec))}",
        f"Predicted: {names_of}",
    ]
    tables = [
        out / name
        for name in (measurements.FILE_NAME, measurements.COUNTS_NAME)
        if (out / name).exists()
    ]
    if tables:
        lines.append(f"Areas, counts or means: {', '.join(map(shown, tables))}")
    if overlay:
        lines.append(f"Masks drawn on pictures: {shown(out / names.OVERLAYS)}")
    if inconsistency:
        places = [shown(out / name) for name in (names.INCONSISTENCY, names.SHARES_NAME)]
        lines.append(f"Where networks disagree: {', '.join(places)}")
        lines.append("Most inconsistent, so worth labeling next:")
        first = written[:MOST_SHOWN]
        lines += [f"  {each.inconsistent:6.1%}  {shown(each.image)}" for each in first]
    return lines


def report(
    folder: Annotated[
        Path,
        typer.Argument(
            help="The folder of a finished run, or of a comparison.", metavar="RUN|COMPARISON"
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Argument(help="The data folder: adds images and scores on its test split."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The page.  [default: report.html in the folder]")
    ] = None,
    follow_links: arguments.FollowLinks = False,
    device: arguments.Device = "auto",
    trust_network: arguments.TrustNetwork = False,
    json: arguments.Json = False,
) -> int:
    """Write a page that says what was found, with figures, images, and all numbers beside it."""
    from imseg.report.html.make import figures_beside, make_report, place_of

    target = place_of(folder, out)  # a name that cannot be is told before anything is looked at
    had_images = data is None and _shows_images(target)
    with show.Bars() as bars:
        page = make_report(
            folder,
            data,
            out=out,
            follow_links=follow_links,
            device=device,
            trust_network=trust_network,
            progress=bars,
        )
    files = figures_beside(page)
    if follow_links and data is not None:
        show.say(f"note: links that lead out of {data} were read, because of --follow-links")
    text = f"Report: {shown(page)}\nFigures and tables: {shown(files)}"
    if had_images:
        show.say("warning: this page has no images; it replaced one that had some")
    if data is None:
        text += f"\nWith images: imseg report {shown(folder)} DATA"
    return show.show_result(text, {"report": str(page), "files": str(files)}, as_json=json)


def _shows_images(page: Path) -> bool:
    """Return whether there is a page with images."""
    return page.is_file() and b"data:image/" in page.read_bytes()
