"""The report of ``imseg check`` as text."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imseg.cli.arguments import TASK_HELP, Data, Json
from imseg.errors import Finding, ImsegError, explained, shown

if TYPE_CHECKING:
    from imseg.data.checks.folder_check import CheckReport
    from imseg.data.checks.repair import Repaired

_SHOWN = 12


def as_text(report: CheckReport, sheet: Path | None) -> str:
    """Return the whole report: what is there, then problems, then a verdict."""
    parts = [_counts(report), _pictures(report), _targets(report)]
    if sheet is not None:
        parts.append(f"Contact sheet: {shown(sheet)}")
    parts += [finding_as_text(finding) for finding in report.findings]
    parts.append(_verdict(report))
    return "\n\n".join(part for part in parts if part)


def repairs_as_text(fixed: Repaired) -> str:
    """Return what was changed in a repaired copy, and what is left to mend by hand."""
    from imseg.data.checks.repaired_files import CSV

    report, repairs = fixed.report, fixed.repairs
    counts = Counter((repair.change, repair.did, repair.why) for repair in repairs)
    first = {(repair.change, repair.did, repair.why): repair.file for repair in reversed(repairs)}
    rows = [
        [f"{change}: {did}" if did else change, str(count), first[change, did, why], why]
        for (change, did, why), count in counts.most_common()
    ]
    head = f"Repaired copy: {fixed.folder}, {len(repairs)} change(s) in {CSV}"
    parts = ["\n" + (head if repairs else f"Copy: {fixed.folder}; nothing could be mended")]
    if rows:
        lines = [f"  {count} x {what} ({why}), such as {file}" for what, count, file, why in rows]
        more = len(lines) - _SHOWN
        parts.append("\n".join(lines[:_SHOWN] + [f"  and {more} more kinds"] * (more > 0)))
    parts.append(f"Checked again: {_counts(report)}")
    parts += [finding_as_text(finding) for finding in report.findings]
    if report.errors:
        parts.append("What is left cannot be mended by a program.")
    parts.append(_verdict(report))
    return "\n\n".join(parts)


def finding_as_text(finding: Finding) -> str:
    """Return a finding: what is wrong, why it matters, and what to do."""
    rows = (
        ("Why:", finding.why),
        ("Expected:", finding.expected),
        ("Got:", finding.got),
        ("Try:", finding.hint),
    )
    return explained(f"{finding.severity}: {finding.what}", rows)


def _counts(report: CheckReport) -> str:
    counts = ", ".join(f"{count} {name}" for name, count in report.counts.items())
    return f"{shown(report.folder)}: {counts}"


def _pictures(report: CheckReport) -> str:
    if report.sizes is None:
        return ""
    kinds = ", ".join(f"{count} {kind}" for kind, count in report.channels.items() if count)
    deep = ", ".join(f"{count} {depth}" for depth, count in report.depths.items())
    if set(report.depths) - {"uint8"}:
        kinds += f" ({deep})"
    height, width = report.sizes.median
    if report.sizes.all_equal:
        return f"Images: {kinds}; all {height}x{width} px"
    (low_h, low_w), (high_h, high_w) = report.sizes.smallest, report.sizes.largest
    return f"Images: {kinds}; from {low_h}x{low_w} to {high_h}x{high_w} px, median {height}x{width}"


def _targets(report: CheckReport) -> str:
    """Return what the masks mean and show."""
    from imseg.report.tables import table

    spec = report.spec
    if spec is None:
        return ""
    void = "" if spec.void is None else f"; {_void(report)} is void"
    head = f"Task: {report.task}{'' if report.asked else ', recognized from the masks'}{void}"
    if report.classes:
        known_by = {"colors": "mask color", "planes": "label"}.get(spec.coding, "mask value")
        rows = [
            [each.name, each.key, f"{each.share:.2%}", str(each.images)] for each in report.classes
        ]
        return head + "\n\n" + table(["class", known_by, "pixels", "images"], rows)
    if report.objects is not None:
        found = report.objects
        area = f"{found.area:.0f} px"
        if found.area_um2 is not None:
            area += f" ({found.area_um2:.1f} square micrometers)"
        return (
            f"{head}\nObjects: {found.total} in all, {found.fewest} to {found.most} per image "
            f"(median {found.median:g}); median area {area}; {found.share:.2%} of the pixels"
        )
    if report.numbers is not None:
        found_numbers = report.numbers
        unit = f" {found_numbers.unit}" if found_numbers.unit else ""
        return (
            f"{head}\nNumbers: {found_numbers.low:g} to {found_numbers.high:g}{unit}, mean "
            f"{found_numbers.mean:g}; {found_numbers.missing:.2%} of the pixels unknown"
        )
    return head


def _void(report: CheckReport) -> str:
    if report.spec is not None and report.spec.coding == "colors":
        return f"color #{report.spec.void:06x}"
    return f"value {report.spec.void if report.spec else None}"


def _verdict(report: CheckReport) -> str:
    errors, warnings, notes = (
        len(report.of_severity(each)) for each in ("error", "warning", "note")
    )
    known = f", {notes} note(s)" if notes else ""
    ready = f"ready for imseg train {shown(report.folder)}"
    if not report.counts.get("unlabeled"):
        ready += " --approach ldt"
    if errors:
        return f"{errors} error(s), {warnings} warning(s){known}: training would be refused."
    if warnings or notes:
        return f"No errors, {warnings} warning(s){known}: {ready}"
    return f"Nothing to complain about: {ready}"


def check(
    data: Data,
    task: Annotated[str | None, typer.Option(help=TASK_HELP)] = None,
    fix: Annotated[
        Path | None,
        typer.Option(
            help="A new folder for a repaired copy; the data folder itself is never changed."
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(help="Where the contact sheet goes; imseg-check-<data>.png by default."),
    ] = None,
    json: Json = False,
) -> int:
    """Show what is in a data folder and every problem. Exit 0 (warnings at most) or 2 (errors).

    With --fix a copy is written in which what a program can mend is mended; the exit status is then
    that of the copy.
    """
    from imseg.cli import show
    from imseg.cli.arguments import parse_task
    from imseg.data.checks.folder_check import check_folder
    from imseg.data.checks.repair import repair_folder
    from imseg.data.files.listing import short_name
    from imseg.errors import shown
    from imseg.report.figures import contact_sheet, save

    word = parse_task(task)
    fixed = None
    with show.Bars() as bars:
        report = check_folder(data, task=word, progress=lambda d, t: bars.counted("looking", d, t))
        if fix is not None:
            show.say(f"The repaired copy goes to {fix}")
            fixed = repair_folder(
                data, fix, task=word, progress=lambda d, t: bars.counted("mending", d, t)
            )
    picture = unwritten = None
    if report.spec is not None and report.reading is not None and report.labeled:
        path = sheet or Path(f"imseg-check-{short_name(data)}.png")
        try:
            picture = save(path, contact_sheet(report.labeled, report.spec, reading=report.reading))
        except ImsegError as error:
            unwritten = error  # what was found is said all the same
    if json:
        found = {**report.as_dict(), "contact_sheet": str(picture) if picture else None}
        show.show_json({**found, "fixed": fixed.as_dict() if fixed else None})
    else:
        print(shown(as_text(report, picture), lines=True))
        if fixed is not None:
            print(shown(repairs_as_text(fixed), lines=True))
    if unwritten is not None:
        raise unwritten
    return 2 if (fixed.report if fixed else report).errors else 0
