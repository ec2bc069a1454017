"""``imseg train``: from a data folder to a finished run."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imseg.cli.options import TASK_HELP, Data, Json
from imseg.errors import ImsegError

if TYPE_CHECKING:
    from imseg.approaches.settings import Settings


NOT_SETTINGS = ("data", "out", "config", "dry_run", "probe", "json")
"""Arguments and options that are no settings of a training."""


def train(
    data: Data,
    approach: Annotated[
        str | None, typer.Option(help="See `imseg approaches`.  [default: im]")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The run folder.  [default: runs/<data>-<approach>-seed<N>]"),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Settings as TOML; options given here win over it.")
    ] = None,
    effort: Annotated[
        str | None,
        typer.Option(
            help="quick (minutes), standard (about an hour) or paper (its schedule)."
            "  [default: standard]"
        ),
    ] = None,
    paper: Annotated[
        str | None,
        typer.Option(
            help="The published settings: isic2018, hela, suim or cityscapes.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Root of all randomness.  [default: 0]")] = None,
    task: Annotated[str | None, typer.Option(help=TASK_HELP)] = None,
    generations: Annotated[
        int | None, typer.Option(help="How often teachers teach students.")
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            help="End after so many generations without a rise on validation; 0: never."
            "  [default: 2]"
        ),
    ] = None,
    teachers: Annotated[int | None, typer.Option(help="Networks that must agree: 2 to 4.")] = None,
    networks: Annotated[
        int | None, typer.Option(help="Networks of every stage, the start included.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    max_steps: Annotated[
        int | None, typer.Option(help="Most optimizer steps of any one network.")
    ] = None,
    image_size: Annotated[
        tuple[int, int] | None,
        typer.Option(help="Height and width at which networks work.", metavar="H W"),
    ] = None,
    width: Annotated[
        float | None, typer.Option(help="Filters of every layer; the paper's alpha.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images an optimizer step.")] = None,
    limit_unlabeled: Annotated[
        int | None, typer.Option(help="Use at most so many unlabeled images.")
    ] = None,
    erode: Annotated[
        int | None, typer.Option(help="Erode inconsistency masks by 0, 3 or 5 px.")
    ] = None,
    dilate: Annotated[
        int | None, typer.Option(help="Dilate inconsistency masks by 0, 3 or 5 px.")
    ] = None,
    grow_labels: Annotated[
        bool | None,
        typer.Option("--grow-labels/--no-grow-labels", help="Dilate class labels by 3 px too."),
    ] = None,
    blocking: Annotated[
        str | None,
        typer.Option(
            help="Zero inconsistent pixels in image and label: both, input, output, none."
        ),
    ] = None,
    ignore: Annotated[
        bool | None,
        typer.Option("--ignore/--no-ignore", help="Leave inconsistent pixels out of the loss."),
    ] = None,
    block_color: Annotated[
        str | None,
        typer.Option(
            help="What blocked pixels of the image become: black, mean (the image's own) or noise"
            " (always the same for an image).  [default: black]"
        ),
    ] = None,
    reblock: Annotated[
        bool | None,
        typer.Option(
            "--reblock/--no-reblock",
            help="Give them that color again when a copy was disturbed.  [default: not in the"
            " paper's schedule]",
        ),
    ] = None,
    select: Annotated[
        str | None,
        typer.Option(
            help="Which pseudo-labeled images are used: paper (its rule), same-classes, all."
        ),
    ] = None,
    vote: Annotated[
        str | None,
        typer.Option(help="How votes become a label: paper (its rule), mean, majority, unanimous."),
    ] = None,
    views: Annotated[int | None, typer.Option(help="Disturbed views that vote: 3, 5 or 7.")] = None,
    plain_view: Annotated[
        bool | None,
        typer.Option("--plain-view/--no-plain-view", help="Let the plain image vote too."),
    ] = None,
    judges: Annotated[
        int | None, typer.Option(help="Judges of masks that are asked together: 1 to 4.")
    ] = None,
    thresholds: Annotated[
        tuple[float, float] | None,
        typer.Option(
            help="Scores from which on a mask is good, and very good."
            "  [default: from validation images]",
            metavar="LOW HIGH",
        ),
    ] = None,
    consistency_weight: Annotated[
        float | None,
        typer.Option(help="Weight of the difference between two views.  [default: 1]"),
    ] = None,
    consistency_ramp: Annotated[
        int | None, typer.Option(help="Epochs in which that weight rises.  [default: 0]")
    ] = None,
    consistency_level: Annotated[
        str | None,
        typer.Option(help="How strongly views are disturbed: low, mid, high.  [default: mid]"),
    ] = None,
    ladder: Annotated[
        str | None,
        typer.Option(
            help="How strongly images are disturbed: default, hela, cityscapes (the"
            " paper's strengths)."
        ),
    ] = None,
    rung: Annotated[
        int | None,
        typer.Option(
            help="The ladder's rung, 1 to 5, of copies in every generation.  [default: one higher"
            " in each]"
        ),
    ] = None,
    fresh_copies: Annotated[
        bool | None,
        typer.Option(
            "--fresh-copies/--no-fresh-copies",
            help="Draw disturbed copies anew at every look, not once a run.",
        ),
    ] = None,
    rotate: Annotated[
        bool | None,
        typer.Option(
            "--rotate/--no-rotate",
            help="Turn disturbed images too.  [default: not for multiclass and regression]",
        ),
    ] = None,
    match: Annotated[
        Path | None, typer.Option(help="The run that a matched baseline is matched to.")
    ] = None,
    unlabeled_masks: Annotated[
        Path | None,
        typer.Option(
            help="Hidden masks of the unlabeled images: for the upper bounds fdt and gt-im++, and"
            " to compare the pseudo-labels of others with them."
        ),
    ] = None,
    reuse: Annotated[
        Path | None,
        typer.Option(help="A run, or folder of runs, whose equal networks are taken over."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:0 ...")] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto, float32 (exact) or bfloat16.")
    ] = None,
    compile: Annotated[
        str | None,
        typer.Option(
            help="Compile training steps: on, off, or auto, where it pays for itself in the run."
            "  [default: auto]"
        ),
    ] = None,
    validate_every: Annotated[
        int | None,
        typer.Option(
            help="Epochs between two looks at the validation images; students of consistency are"
            " looked at after every pass.  [default: so that they take at most a tenth of the time]"
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Networks trained side by side.  [default: one a core]")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Train and write nothing: say what it would take in time, memory and disk.",
        ),
    ] = False,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe/--no-probe", help="With --dry-run: measure a few steps here, or do without."
        ),
    ] = True,
    json: Json = False,
) -> int:
    """Train an approach. Repeat the command to continue a run that was stopped."""
    options: dict[str, Any] = {
        name: value for name, value in locals().items() if name not in NOT_SETTINGS
    }
    from imseg.approaches.experiment import fit
    from imseg.approaches.settings import settings_from
    from imseg.cli import show
    from imseg.report.tables import stages_table, time_in_words

    if not probe and not dry_run:
        raise ImsegError(
            "--no-probe says nothing without --dry-run.",
            expected="it with --dry-run, which else measures a few steps.",
            hint="leave it out; --max-steps spares a training its measurement.",
        )
    settings = settings_from(options, config=config)
    if dry_run:
        return _only_estimate(data, out, settings, probe=probe, json=json)
    with show.Bars() as bars:
        run = fit(data, out=out, settings=settings, progress=bars)
    if json:
        show.show_json({"run": str(run.path), **run.summary})
        return 0
    final = run.summary["network"]
    print(f"{stages_table(run)}\n")
    print(f"Network of the run: {final}, validation {run.metric.text(run.summary['validation'])}")
    if run.start_was_better:
        print(
            f"The start was better on validation: --network {run.best_of_start} takes it instead."
        )
    if spent := time_in_words(run.summary):
        print(f"Time: {spent}")
    better = f" --network {run.best_of_start}" if run.start_was_better else ""
    print(f"Next: imseg evaluate {run.path} {data}{better}")
    print(f"      imseg predict {run.path} IMAGES --out masks/{better}")
    return 0


def _only_estimate(
    data: Path, out: Path | None, settings: Settings, *, probe: bool, json: bool
) -> int:
    """Show what a training would take."""
    from imseg.approaches.estimate import estimate
    from imseg.cli import show
    from imseg.cli.estimate_text import estimate_text

    with show.Bars() as bars:
        found = estimate(data, out=out, settings=settings, progress=bars, probe=probe)
    if json:
        show.show_json(found.as_dict())
    else:
        print(estimate_text(found, datetime.now()))
    return 0
