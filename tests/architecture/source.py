"""The source as syntax trees: names that are introduced in it, and how long its parts are."""

from __future__ import annotations

import ast
import functools
import io
import re
import tokenize
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import imseg

ROOT = Path(imseg.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
TEMPORARY = Path(__file__).parent / "temporary.toml"
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
NO_CODE = (
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE,
    tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
)  # fmt: skip


def name_of(path: Path) -> str:
    """Return the place of a file below ``imseg``."""
    return path.relative_to(ROOT).as_posix()


@functools.cache
def trees() -> list[tuple[str, ast.Module]]:
    """Return every module: its place and its syntax tree."""
    return [(name_of(path), ast.parse(path.read_text(encoding="utf-8"))) for path in FILES]


def temporary(rule: str) -> Any:
    """Return what a rule still lets pass; see the head of the file."""
    return tomllib.loads(TEMPORARY.read_text(encoding="utf-8"))[rule]


def check_exceptions(broken: Iterable[str], rule: str) -> None:
    """Fail for everything that breaks a rule and is not listed, and that is listed without need."""
    found, listed = set(broken), temporary(rule)
    assert sorted(found - set(listed)) == [], f"breaks the rule {rule}"
    needless = sorted(set(listed) - found)
    assert needless == [], f"no longer needed below {rule} in {TEMPORARY.name}: delete these"
    assert len(listed) == len(set(listed)), f"listed twice below {rule} in {TEMPORARY.name}"


def introduced(tree: ast.Module) -> Iterator[str]:
    """Yield the names of a module's classes, functions, arguments and fields."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        if isinstance(node, ast.ClassDef):
            for statement in node.body:
                if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                    yield statement.target.id


def words_of(name: str) -> list[str]:
    """Return the words of a name: ``["mask", "scorers"]`` of ``mask_scorers``, ``MaskScorers``."""
    return [word.lower() for word in WORD.findall(name)]


def code_and_imports(text: str) -> tuple[int, int]:
    """Return lines of code, without docstrings, comments and blank lines, and imports among them.

    The strings below fields are docstrings too. An import that is wrapped counts all its lines.
    """
    documentation: set[int] = set()
    imports: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Expr(value=ast.Constant(value=str())):
                documentation.update(range(node.lineno, (node.end_lineno or 0) + 1))
            case ast.Import() | ast.ImportFrom():
                imports.update(range(node.lineno, (node.end_lineno or 0) + 1))
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            code.update(range(token.start[0], token.end[0] + 1))
    code -= documentation
    return len(code), len(code & imports)
