"""Whether pictures have the sizes for which their regions were drawn."""

from __future__ import annotations

from collections.abc import Sequence

from imseg.data.facts import map_in_threads
from imseg.data.image_io import SUFFIXES, UnreadablePicture, probe
from imseg.data.listing import counted
from imseg.data.polygons.locate import Located
from imseg.errors import ImsegError, and_more

Size = tuple[int, int]
"""Height and width in pixels, as the picture is displayed."""


def read_sizes(located: Sequence[Located]) -> tuple[list[Size], list[ImsegError]]:
    """Return the size of each picture as it is displayed, and everything that does not fit.

    Args:
        located: Pictures with files.
    """
    found = list(map_in_threads(_probe, located))
    unreadable = [each for each in found if isinstance(each, UnreadablePicture)]
    errors: list[ImsegError] = []
    if len(unreadable) == 1:
        errors.append(unreadable[0])
    elif unreadable:
        errors.append(_unreadable(unreadable))
    turned: list[str] = []
    different: list[str] = []
    sizes: list[Size] = []
    for each, size in zip(located, found, strict=True):
        wanted = each.picture.size
        sizes.append(size if isinstance(size, tuple) else (0, 0))
        if not isinstance(size, tuple) or wanted is None or size == wanted:
            continue
        text = f"{each.name} is {_words(size)}, the annotations say {_words(wanted)}"
        (turned if size == wanted[::-1] else different).append(text)
    errors += [_turned(turned)] if turned else []
    errors += [_different(different)] if different else []
    return sizes, errors


def _probe(each: Located) -> Size | UnreadablePicture:
    path = each.path
    if path is None:
        raise RuntimeError("every picture has a file by now")
    if path.suffix.lower() not in SUFFIXES:
        reason = f"has the suffix {path.suffix or 'of no file type'}, which is not read"
        expected = ", ".join(sorted(SUFFIXES)) + " (upper case too)."
        return UnreadablePicture(path, reason, expected=expected, hint="convert the picture.")
    try:
        return probe(path).size
    except UnreadablePicture as error:
        if not each.inside:
            return error
        return UnreadablePicture(
            each.picture.file,
            f"holds a picture (imageData) that {error.reason}",
            expected=error.expected or "",
            hint="put the picture file beside it.",
        )


def _unreadable(errors: Sequence[UnreadablePicture]) -> ImsegError:
    texts = [f"{error.path} {error.reason}" for error in errors]
    hints = list(dict.fromkeys(error.hint for error in errors if error.hint))
    return ImsegError(
        f"{len(errors)} pictures cannot be read.",
        expected=errors[0].expected,
        got=f"{and_more(texts)}.",
        hint="\n".join(hints),
    )


def _turned(texts: Sequence[str]) -> ImsegError:
    one = len(texts) == 1
    return ImsegError(
        f"{counted(len(texts), 'picture')} {'lies' if one else 'lie'} on the side compared to the"
        " annotations.",
        expected="outlines drawn on the picture as it is displayed, upright.",
        got=f"{and_more(texts)} (height x width).",
        hint="the tool that drew the outlines ignored the EXIF rotation of the file, so ignore it"
        " here, too:\nexiftool -Orientation= FILE, and repeat the command. Or turn the"
        " annotations.",
    )


def _different(texts: Sequence[str]) -> ImsegError:
    one = len(texts) == 1
    return ImsegError(
        f"{counted(len(texts), 'picture')} {'has' if one else 'have'} another size than the"
        " annotations say.",
        expected="the very files on which the outlines were drawn.",
        got=f"{and_more(texts)} (height x width).",
        hint="use the original pictures, or scale the annotations together with them.",
    )


def _words(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
