"""The paper's scores and ours side by side: for a terminal, Markdown and spreadsheets."""

from __future__ import annotations

from pathlib import Path

from imseg.approaches.comparison.held_against import Line, Reproduction
from imseg.data.sheets import sheet
from imseg.data.whole_files import write_whole
from imseg.report.tables import mean_and_spread, table

TABLE_FILE, SHEET_FILE = "reproduction.md", "reproduction.csv"

NOTES = """\
published: read off the paper's figure, to about .0005; means over test images. ours: mean +-
spread over runs, each with the network that is best on validation in its generation. The
headline is an entry of the authors' leaderboard, probably their best single run; ours is the
network of the run."""


def write_reproduction(found: Reproduction, out: Path) -> tuple[Path, Path]:
    """Write ``reproduction.md`` and ``reproduction.csv`` and return where they are."""
    text = f"{reproduction_table(found)}\n\n{NOTES}\n\n{departures_text(found)}\n"
    for name, content in ((TABLE_FILE, text), (SHEET_FILE, reproduction_sheet(found))):
        write_whole(out / name, content.encode(errors="backslashreplace"))
    return out / TABLE_FILE, out / SHEET_FILE


def reproduction_table(found: Reproduction) -> str:
    """Return one line a published score, the headline last."""
    lines = [*found.lines, *([found.headline] if found.headline is not None else [])]
    rows = [
        [
            _called(line, headline=line is found.headline),
            line.label,
            _published(line),
            mean_and_spread(line.ours),
            "-" if line.difference is None else f"{line.difference:+.3f}",
            str(len(line.ours)),
        ]
        for line in lines
    ]
    return table(["approach", "score", "published", "ours", "difference", "runs"], rows)


def departures_text(found: Reproduction) -> str:
    """Return whether this is the published experiment."""
    if not found.departures:
        return "The published settings, schedule and number of runs."
    return f"Not the published experiment: {'; '.join(found.departures)}."


def reproduction_sheet(found: Reproduction) -> str:
    """Return one line a score and run, for a spreadsheet."""
    header = ["approach", "generation", "score", "published", "run", "ours", "headline"]
    return sheet(
        header,
        [
            [
                line.approach, line.generation, line.label, line.published, run, ours,
                int(line is found.headline),
            ]
            for line in (*found.lines, *([found.headline] if found.headline is not None else []))
            for run, ours in enumerate(line.ours)
        ],
    )  # fmt: skip


def _called(line: Line, *, headline: bool) -> str:
    if headline:
        return f"{line.approach}, headline"
    return line.approach + ("" if line.generation is None else f", generation {line.generation}")


def _published(line: Line) -> str:
    if line.published is not None:
        return f"{line.published:.3f}"
    return "-" if line.below is None else f"< {line.below:.2f}"
