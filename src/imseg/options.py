"""Components and their options: a setting is declared once, on the component that uses it.

A component is a frozen dataclass: settings and code in one. A field made by :func:`option` can be
set by users; its name, meaning, range and choices are declared there and nowhere else. The command
line, TOML files, checks, help, records and ``imseg explain`` come from these declarations.
"""

import dataclasses
import typing
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, ClassVar, Literal, Self, TypeVar

from pydantic import ConfigDict, GetCoreSchemaHandler, TypeAdapter
from pydantic_core import core_schema

Group = Literal["data", "budget", "method", "network", "machine", "output"]
"""The heading under which ``--help`` shows an option."""

Any_ = TypeVar("Any_")

STRICT = ConfigDict(extra="forbid")
"""How files of others are read into dataclasses: what is not a field is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What is declared about a field that users can set."""

    name: str
    """Its name in Python and TOML; with hyphens on the command line."""
    help: str
    """One or two sentences: what it is, unit, and the default where the field's own is not it."""
    group: Group
    """Its heading in ``--help``."""
    low: float | None = None
    """The least number, itself allowed; None: no limit."""
    high: float | None = None
    """The greatest number, itself allowed; None: no limit."""
    among: tuple[float, ...] = ()
    """The only numbers allowed; empty: all in range."""
    expected: str = ""
    """What is allowed, in words for an error; empty: made from the range."""
    metavar: str | None = None
    """How ``--help`` shows its value."""
    essential: bool = False
    """Whether it is among those that most people need first."""
    type: Any = None
    """The type of a value, from the annotation of its field."""

    @property
    def flag(self) -> str:
        """The option as it is typed."""
        return "--" + self.name.replace("_", "-")

    def problem(self, value: Any) -> str:
        """Return what would be allowed in place of a value, or an empty text if it is allowed."""
        numbers = value if isinstance(value, tuple) else (value,)
        fits = all(
            (self.low is None or number >= self.low)
            and (self.high is None or number <= self.high)
            and (not self.among or number in self.among)
            for number in numbers
            if isinstance(number, int | float)
        )
        return "" if fits else self.expected or self._range()

    def _range(self) -> str:
        if self.among:
            numbers = [f"{number:g}" for number in self.among]
            return f"{', '.join(numbers[:-1])} or {numbers[-1]}."
        if self.high is None:
            return f"{self.low:g} or more."
        return f"{self.low:g} to {self.high:g}."


def option(default: Any, help: str, *, group: Group, name: str = "", **declared: Any) -> Any:
    """Return a dataclass field that users can set.

    Args:
        default: The field's value where nothing is asked for.
        help: What it is.
        group: Its heading in ``--help``.
        name: What the option is called; empty: as the field.
        declared: Further fields of :class:`Option`.
    """
    made = Option(name=name, help=help, group=group, **declared)
    return field(default=default, metadata={"option": made})


def options_of(component: type[Any]) -> Mapping[str, Option]:
    """Return the options of a component's own fields, by field."""
    return _options_of(component)  # type: ignore[arg-type]


@cache
def _options_of(component: Hashable) -> Mapping[str, Option]:
    found = {
        entry.name: entry.metadata["option"]
        for entry in dataclasses.fields(component)  # type: ignore[arg-type]
        if "option" in entry.metadata
    }
    hints = typing.get_type_hints(component) if found else {}
    return {
        name: replace(one, name=one.name or name, type=hints[name]) for name, one in found.items()
    }


def walk(component: Any) -> Iterator[Any]:
    """Yield a component and all components in its fields."""
    yield component
    for entry in dataclasses.fields(component):
        value = getattr(component, entry.name)
        if dataclasses.is_dataclass(value):
            yield from walk(value)


def options_in(component: Any) -> dict[str, Option]:
    """Return the options of a component and of all components in it, by name."""
    return {
        one.name: one for each in walk(component) for one in options_of(each.__class__).values()
    }


def with_options(component: Any_, given: Mapping[str, Any]) -> Any_:
    """Return a component with the given options set, in it and in all components in it.

    Args:
        component: A dataclass.
        given: Values by the name of their option; those that it has no use for are left aside. A
            component that says by ``options`` which ones it has a use for gets no others.
    """
    changes: dict[str, Any] = {}
    useful = getattr(component, "options", given)
    given = {name: value for name, value in given.items() if name in useful}
    own = options_of(type(component))
    for entry in dataclasses.fields(component):  # type: ignore[arg-type]
        value = getattr(component, entry.name)
        if entry.name in own and own[entry.name].name in given:
            changes[entry.name] = given[own[entry.name].name]
        elif dataclasses.is_dataclass(value):
            changed = with_options(value, given)
            if changed != value:
                changes[entry.name] = changed
    return replace(component, **changes) if changes else component  # type: ignore[type-var]


class Component:
    """The base of alternatives that are told apart by ``kind`` in files and messages.

    A base class such as ``Objective`` derives from it directly; every alternative names its own
    ``kind`` and is then found by it when a record or a job is read.
    """

    __pydantic_config__ = STRICT

    kind: ClassVar[str]
    """What it is called in files."""
    _known: "ClassVar[dict[str, type[Component]]]"

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if Component in cls.__bases__:
            cls._known = {}
        elif "kind" in cls.__dict__:
            cls._known[cls.kind] = cls

    @classmethod
    def alternatives(cls) -> dict[str, type[Self]]:
        """Return all alternatives by their kind."""
        return dict(cls._known)  # type: ignore[arg-type]

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        if "kind" in source.__dict__:
            return handler(source)
        return core_schema.no_info_plain_validator_function(
            source._read,
            serialization=core_schema.plain_serializer_function_ser_schema(source._plain),
        )

    @classmethod
    def _read(cls, value: Any) -> "Component":
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping) or value.get("kind") not in cls._known:
            known = ", ".join(cls._known)
            raise ValueError(f"{cls.__name__} is one of {known}, not {value!r:.80}")
        fields = {name: each for name, each in value.items() if name != "kind"}
        found: Component = TypeAdapter(cls._known[value["kind"]]).validate_python(fields)
        return found

    @staticmethod
    def _plain(value: "Component") -> dict[str, Any]:
        fields = TypeAdapter(type(value)).dump_python(value, mode="json", exclude_none=True)
        return {"kind": value.kind, **fields}
