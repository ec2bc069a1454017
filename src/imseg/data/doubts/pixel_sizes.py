"""Sizes of pixels that are probably wrong."""

from collections.abc import Iterator

from imseg.data.checks.fitness import FolderScan, warning
from imseg.data.folder.config import FILE_NAME
from imseg.errors import Finding, and_more

FAR_APART = 100.0
"""Pixels that are more than so many times as large as others are probably a mistake."""


def find_pixel_sizes_far_apart(found: FolderScan) -> Iterator[Finding]:
    """Yield whether pixels of some labeled images are far larger than those of others."""
    labeled = found.survey.labeled
    known = sorted((facts.pixel_size, facts.name) for facts in labeled if facts.pixel_size)
    if not known or known[-1][0] <= FAR_APART * known[0][0]:
        return
    (least, fine), (most, coarse) = known[0], known[-1]
    yield warning(
        f"Pixels of some labeled images are {most / least:.0f} times as large as those of others.",
        why="images are seen at scales by the sizes of their pixels, and one of these is probably"
        " wrong.",
        got=f"{least:.3g} um in {fine}, {most:.3g} um in {coarse}.",
        hint=f"say the right sizes as pixel_size in {FILE_NAME}; one number there holds for all"
        " images, whatever their files say.",
        files=(fine, coarse),
    )


def find_idle_patterns(found: FolderScan) -> Iterator[Finding]:
    """Yield whether patterns of sizes of pixels in ``imseg.toml`` decide about no image."""
    names = [facts.name for facts in found.survey.every()]
    used = {found.config.pattern_of(name) for name in names if found.config.pixel_sizes}
    idle = [pattern for pattern in found.config.pixel_sizes if pattern not in used]
    if idle and names:
        yield warning(
            f"Patterns of pixel_size in {FILE_NAME} decide about no image.",
            got=and_more(idle) + ".",
            hint="the first pattern that a file name matches counts: put the one that matches most"
            ' last, and * at both ends where a name goes on ("*_40x*").',
            files=(FILE_NAME,),
        )
