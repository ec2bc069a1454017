"""Names in the source are those of docs/reference/glossary.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.architecture.source import FILES, check_exceptions, introduced, trees, words_of

PAGE = Path(__file__).parents[2] / "docs/reference/glossary.md"
HEAD = ["say", "not", "meaning"]


def rows(text: str) -> list[list[str]]:
    """Return the cells of the table without its head and the lines that name a section."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert table[0] == HEAD and set("".join(table[1])) == {"-"}
    return [row for row in table[2:] if not row[0].startswith("**")]


def avoided(text: str) -> set[str]:
    """Return the terms of the second column."""
    return {term for row in rows(text) for term in re.findall(r"`(\w+)`", row[1])}


def breaks(name: str, terms: set[str]) -> bool:
    """Return whether a name is or contains a term that is to be avoided."""
    if name in {term for term in terms if term[0].isupper()}:
        return True
    small = {term for term in terms if term[0].islower()}
    return any(word in small or word.removesuffix("s") in small for word in words_of(name))


@pytest.fixture(scope="module")
def text() -> str:
    if not PAGE.exists():
        pytest.skip("docs/reference/glossary.md is missing: not a checkout")
    return PAGE.read_text(encoding="utf-8")


def test_names_in_the_source_are_those_of_the_glossary(text: str) -> None:
    modules = {part.removesuffix(".py") for path in FILES for part in path.parts[-3:]}
    names = modules.union(*(introduced(tree) for _, tree in trees()))
    terms = avoided(text)
    check_exceptions([name for name in names if breaks(name, terms)], "names_to_be_replaced")


def test_every_entry_says_what_it_means_and_what_is_avoided_as_the_test_reads_it(text: str) -> None:
    for row in rows(text):
        say, avoid, meaning = row
        assert say and meaning.endswith("."), row
        assert re.fullmatch(r"(`[A-Za-z]+`(, (?!$))?)*", avoid), row
    assert len(rows(text)) > 40 < len(avoided(text)) + 10


def test_entries_stand_once(text: str) -> None:
    said = [row[0] for row in rows(text)]
    assert len(said) == len(set(said))
    assert avoided(text).isdisjoint({word for words in said for word in re.split(r", | ", words)})


@pytest.mark.parametrize("name", ["judge", "judges", "judge_of", "TheJudge", "_JUDGES", "Part"])
def test_names_to_be_avoided_would_be_found(name: str) -> None:
    assert breaks(name, {"judge", "Part"})


@pytest.mark.parametrize("name", ["part", "Parts", "PartOf", "judgment", "prejudge"])
def test_other_names_are_left_alone(name: str) -> None:
    assert not breaks(name, {"judge", "Part"})
