"""The one family of errors a user meets: what is wrong, Expected, Got, Try."""

import difflib
import importlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TypeVar

Found = TypeVar("Found")

# Control characters, halves of surrogate pairs, ends of lines.
_STEERING = frozenset({"Cc", "Cs", "Zl", "Zp"})
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


_LABELS = {"why": "Why:", "expected": "Expected:", "got": "Got:", "hint": "Try:"}


def explained(what: str, parts: "ImsegError | Finding") -> str:
    """Return one line that says what is wrong, and below it what is known, without empty rows.

    Args:
        what: The first line.
        parts: What has the further rows as ``why``, ``expected``, ``got`` and ``hint``.
    """
    lines = [shown(what)]
    for name, label in _LABELS.items():
        if text := getattr(parts, name, None):
            lines.append(f"  {label:<9} " + shown(text, lines=True).replace("\n", "\n" + " " * 12))
    return "\n".join(lines)


class ImsegError(Exception):
    """Something the user can mend; the command line prints it without a traceback and exits with 2.

    Args:
        what: One sentence that says what is wrong and names the file or option.
        expected: What would have been right.
        got: What was found instead.
        hint: What to try; a command where there is one.
    """

    def __init__(
        self,
        what: str,
        *,
        expected: str | None = None,
        got: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.what = shown(what)
        self.expected = expected and shown(expected, lines=True)
        self.got = got and shown(got, lines=True)
        self.hint = hint and shown(hint, lines=True)
        super().__init__(str(self))

    def __str__(self) -> str:
        return explained(self.what, self)


class ImsegErrors(ImsegError):
    """Several mendable problems at once, so that they need not be found one run at a time."""

    def __init__(self, errors: Sequence[ImsegError]) -> None:
        self.errors = tuple(errors)
        super().__init__("")
        self.what = "\n".join(str(error) for error in errors)

    def __str__(self) -> str:
        return self.what


def parts_of(error: ImsegError) -> list[dict[str, str | None]]:
    """Return the arguments of an error, or of each of several, to be raised in another process."""
    each = error.errors if isinstance(error, ImsegErrors) else (error,)
    names = ("what", "expected", "got", "hint")
    return [{name: getattr(one, name) for name in names} for one in each]


class TrainingFailed(Exception):
    """A network could not be trained, for example because its loss was not a number."""


class MemoryTooShort(TrainingFailed):
    """A network could not be trained because not even a few images fit into memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a look at the data found."""

    severity: str
    """``error`` (training would fail or mislead), ``warning`` (worth mending) or ``note`` (worth
    knowing)."""
    what: str
    """One sentence that says what is wrong."""
    why: str = ""
    """Why it matters, as a sentence that begins in lower case."""
    expected: str = ""
    """What would have been right."""
    got: str = ""
    """What was found."""
    hint: str = ""
    """How to mend it."""
    files: tuple[str, ...] = ()
    """The files concerned, relative to the data folder."""

    def as_error(self) -> ImsegError:
        """Return the finding as an exception."""
        return ImsegError(self.what, expected=self.expected, got=self.got, hint=self.hint)


def shown(text: object, *, lines: bool = False) -> str:
    """Return text that a terminal only shows: what would steer it is escaped.

    Names from files may hold anything; what turns the direction of text counts too.

    Args:
        text: A name, or whatever else comes from data.
        lines: Whether it may have several lines.
    """
    return "".join(
        repr(each)[1:-1]
        if (unicodedata.category(each) in _STEERING or each in _TURNING)
        and not (lines and each in "\n\t")
        else each
        for each in str(text)
    )


def raise_all(errors: Iterable[ImsegError]) -> None:
    """Raise nothing, the one error, or all of them together."""
    found = list(errors)
    if len(found) == 1:
        raise found[0]
    if found:
        raise ImsegErrors(found)


def near_miss(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that looks most like ``word``, or None if none comes close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def look_up(
    name: str, known: Mapping[str, Found], *, noun: str, command: str, otherwise: str | None = None
) -> Found:
    """Return what has this name.

    Args:
        name: What the user wrote.
        known: Everything there is, by name.
        noun: What it is, such as ``approach``.
        command: What to try, with ``{}`` where the name goes.
        otherwise: What to try where no name is near.

    Raises:
        ImsegError: If there is nothing of this name; the nearest name is suggested.
    """
    if name in known:
        return known[name]
    guess = near_miss(name.lower(), known)
    raise ImsegError(
        f"There is no {noun} named {name!r}.",
        expected=", ".join(known),
        got=shown(name),
        hint=command.format(guess) if guess else otherwise,
    )


def and_more(items: Sequence[str], most: int = 3) -> str:
    """Return the first few items in words, with a count of the rest: ``a, b (and 2 more)``."""
    text = ", ".join(shown(item) for item in items[:most])
    rest = len(items) - most
    return f"{text} (and {rest} more)" if rest > 0 else text


def import_extra(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Return a module that only some users need.

    Args:
        module: Its name, such as ``cv2``.
        extra: What installs it: ``pip install 'imseg[extra]'``.
        purpose: What it is needed for, as the end of "... is needed".

    Raises:
        ImsegError: If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImsegError(
            f"{module.partition('.')[0]} is needed {purpose}.",
            expected="a library that is an extra of imseg.",
            got=str(error),
            hint=f"pip install 'imseg[{extra}]'",
        ) from error
