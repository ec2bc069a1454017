"""The report of ``imseg check`` as text."""

from __future__ import annotations

from pathlib import Path

from imseg.data.check import CheckReport
from imseg.errors import Finding
from imseg.report.tables import table


def as_text(report: CheckReport, sheet: Path | None) -> str:
    """Return the whole report: what is there, then problems, then a verdict."""
    parts = [
        f"{report.folder}: "
        + ", ".join(f"{count} {name}" for name, count in report.counts.items()),
        _pictures(report),
        _classes(report),
    ]
    if sheet is not None:
        parts.append(f"Contact sheet: {sheet}")
    parts += [_finding(finding) for finding in report.findings]
    parts.append(_verdict(report))
    return "\n\n".join(part for part in parts if part)


def _pictures(report: CheckReport) -> str:
    if report.sizes is None:
        return ""
    kinds = ", ".join(f"{count} {kind}" for kind, count in report.channels.items() if count)
    height, width = report.sizes.median
    if report.sizes.all_equal:
        return f"Images: {kinds}; all {height}x{width} px"
    (low_h, low_w), (high_h, high_w) = report.sizes.smallest, report.sizes.largest
    return f"Images: {kinds}; from {low_h}x{low_w} to {high_h}x{high_w} px, median {height}x{width}"


def _classes(report: CheckReport) -> str:
    if report.spec is None:
        return ""
    rows = [
        [each.name, str(each.value), f"{each.share:.2%}", str(each.images)]
        for each in report.classes
    ]
    void = "" if report.spec.void is None else f"; value {report.spec.void} is void"
    head = f"Task: {report.spec.kind}{void}"
    return head + "\n\n" + table(["class", "mask value", "pixels", "images"], rows)


def _finding(finding: Finding) -> str:
    return f"{finding.severity}: {finding.as_error()}"


def _verdict(report: CheckReport) -> str:
    errors, warnings = len(report.errors), len(report.warnings)
    if errors:
        return f"{errors} error(s), {warnings} warning(s): training would be refused."
    if warnings:
        return f"No errors, {warnings} warning(s): ready for imseg train {report.folder}"
    return f"Nothing to complain about: ready for imseg train {report.folder}"
