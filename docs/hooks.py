"""What mkdocs does beside building pages: it writes what would go stale if people wrote it.

The list of commands comes from the command line itself, the list of decisions from their titles,
and files beside docs/ (measurements, changes) become pages, with their links bent to fit.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
BESIDE = (
    *("benchmarks/RESULTS.md", "benchmarks/PEERS.md", "benchmarks/GPU.md"),
    *("CHANGELOG.md", "CONTRIBUTING.md"),
)
"""Files outside docs/ that are pages too."""
ELSEWHERE = {"docs/decisions": "decisions/index.md", "README.md": "index.md"}
"""Places of the repository that another page stands for."""
DECISIONS = "decisions/index.md"
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)(#[^)\s]*)?(?=[)\s])")


def on_config(config: Any) -> Any:
    """List every decision in the navigation."""
    for section in config.nav:
        for name, entries in section.items():
            if isinstance(entries, list):
                section[name] = [_expanded(entry) for entry in entries]
    return config


def on_files(files: Any, *, config: Any) -> Any:
    """Add the pages that do not lie in docs/."""
    for name in BESIDE:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    files.append(File.generated(config, DECISIONS, content=decisions_page()))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Fill in the commands, and bend links that leave docs/."""
    place = page.file.src_uri
    if "<!-- commands -->" in markdown:
        markdown = markdown.replace("<!-- commands -->", commands_page())
    here = place if place in BESIDE else f"docs/{place}"

    def bent(found: re.Match[str]) -> str:
        aim = posixpath.normpath(posixpath.join(posixpath.dirname(here), found[1]))
        there = ELSEWHERE.get(aim, aim if aim in BESIDE else None)
        if there is None and place in BESIDE and aim.startswith("docs/"):
            there = aim.removeprefix("docs/")
        if there is None:
            return found[0]
        return posixpath.relpath(there, posixpath.dirname(place) or ".") + (found[2] or "")

    return LINK.sub(bent, markdown)


def decisions() -> Iterator[tuple[str, str]]:
    """Yield the file name and the title of each decision, in order."""
    for path in sorted((ROOT / "docs/decisions").glob("[0-9]*.md")):
        yield path.name, path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")


def decisions_page() -> str:
    """Return the list of decisions."""
    rows = [f"- [{title.partition('. ')[2] or title}]({name})" for name, title in decisions()]
    numbered = [row.replace("- ", f"{number}. ", 1) for number, row in enumerate(rows, 1)]
    return "\n".join(
        [
            "# Decisions",
            "",
            "One page each: what the question was, what was decided, what follows from it. A"
            " decision that no longer holds gets a new page, not a new text. Words and paths are"
            " those of their time: [decision 33](0033-rooms-and-names.md) says what they are now.",
            "",
            *numbered,
            "",
        ]
    )


def commands_page() -> str:
    """Return every command with its arguments and options, as the command line declares them."""
    from typer.main import get_command

    from imseg.cli.main import app

    functions = {each.name: each.callback for each in app.registered_commands}
    found = get_command(app).commands.items()
    return "\n".join(line for name, each in found for line in _command(name, each, functions[name]))


def _expanded(entry: Any) -> Any:
    if isinstance(entry, dict) and "decisions/*" in entry.values():
        return {next(iter(entry)): [DECISIONS, *(f"decisions/{name}" for name, _ in decisions())]}
    return entry


def _command(name: str, command: Any, function: Any) -> Iterator[str]:
    from imseg.cli.arguments import HEADINGS, MOST_USED

    # Options that components declare are added when a command is used.
    function = getattr(function, "complete", lambda: function)()
    # Nothing of click is imported: some versions of typer bring their own copy of it, and types are
    # called otherwise there. So types come from the function itself.
    types = {
        each.name: each.annotation
        for each in signature(function, eval_str=True).parameters.values()
    }
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option"]
    words = " ".join(_placeholder(each) for each in arguments)
    yield f"## imseg {name}\n"
    yield f"{_text(command.help)}\n"
    yield f"```text\nimseg {name} {words}{' ' * bool(words)}[OPTIONS]\n```\n"
    if arguments:
        yield from ("| argument | meaning |", "|---|---|")
        yield from (f"| `{_placeholder(each)}` | {_text(each.help)} |" for each in arguments)
        yield ""
    yield from ("| option | meaning | default |", "|---|---|---|")
    panels = {each.name: getattr(each, "rich_help_panel", None) or "Options" for each in options}
    for heading in (MOST_USED, "Options", *HEADINGS.values()):
        rows = [each for each in options if panels[each.name] == heading]
        if rows and len(set(panels.values())) > 1:
            yield f"| **{heading}** | | |"
        for option in rows:
            if "--help" not in option.opts:
                meaning, default = _meaning(option)
                yield f"| {_spelled(option, types[option.name])} | {meaning} | {default} |"
    yield ""


def _spelled(option: Any, kind: Any) -> str:
    value = "" if option.is_flag else f" {option.metavar or _placeholder_of(kind)}"
    names = [f"`{name}{value}`" for name in (*option.opts, *option.secondary_opts)]
    return "<br>".join(names)


def _placeholder_of(kind: Any) -> str:
    """Return what stands for a value of a type, or of a type or nothing."""
    plain = kind.__origin__ if get_origin(kind) is Annotated else kind
    plain = next((each for each in get_args(plain) if each is not type(None)), plain)
    return {int: "N", float: "X", Path: "PATH"}.get(plain, "TEXT")


def _placeholder(argument: Any) -> str:
    return str(argument.metavar or argument.name).upper()


def _meaning(option: Any) -> tuple[str, str]:
    """Return what an option means, and its default, which some texts tell themselves."""
    text = " ".join((option.help or "").split())
    told = re.search(r"\s*\[default: (.*)\]$", text)
    if told:
        return _text(text[: told.start()]), _text(told[1])
    if option.required:
        return _text(text), "required"
    if option.default is None or option.is_flag:
        flag = "yes" if option.default and option.secondary_opts else ""
        return _text(text), flag
    return _text(text), f"`{option.default}`"


def _text(text: str | None) -> str:
    """Return a help text that Markdown takes for nothing else."""
    plain = " ".join((text or "").split()).replace("|", "&#124;")
    parts = plain.split("`")  # what stands between backquotes is code already
    return "`".join(
        part if number % 2 else re.sub(r"(?<!\w)(--[a-z-]+)", r"`\1`", _escaped(part))
        for number, part in enumerate(parts)
    )


def _escaped(text: str) -> str:
    return re.sub(r"([*_\[\]])", r"\\\1", text.replace("<", "&lt;").replace(">", "&gt;"))
