"""Nothing in the source can run what it reads, start a shell, or talk to a network."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import imseg

ROOT = Path(imseg.__file__).parent

MODULES = frozenset({
    # whatever runs code while it reads data, or sends objects in such a form
    "pickle", "_pickle", "cPickle", "pickle5", "dill", "cloudpickle", "joblib", "shelve", "marshal",
    "copyreg", "multiprocessing", "torch.multiprocessing", "torch.hub", "torch.package", "runpy",
    "code", "codeop", "imp", "pty", "yaml", "pandas",
    # whatever listens or asks on a network
    "socket", "socketserver", "http", "asyncio", "ssl", "ftplib", "smtplib", "poplib", "imaplib",
    "telnetlib", "xmlrpc", "wsgiref", "urllib.request", "urllib3", "requests", "httpx", "aiohttp",
    "websockets", "torch.distributed",
    # XML that expands what it declares; defusedxml does not
    "xml", "lxml",
})  # fmt: skip
DOTTED = frozenset(name for name in MODULES if "." in name)
NAMES = frozenset({
    "eval", "exec", "compile", "__import__", "breakpoint",
    "torch.load", "torch.save", "torch.jit.load", "torch.hub", "torch.utils.data.DataLoader",
    "numpy.save", "numpy.savez", "numpy.lib.format.read_array", "numpy.lib.npyio.load",
    "os.system", "os.popen", "os.fork", "os.startfile",
    "subprocess.getoutput", "subprocess.getstatusoutput",
    "concurrent.futures.ProcessPoolExecutor",
    "importlib.import_module", "importlib.util.spec_from_file_location",
})  # fmt: skip
"""Never named: a function that is not called here may be called elsewhere."""
STARTS = ("os.exec", "os.spawn", "os.posix_spawn")
ALLOWED = {
    ("errors.py", "importlib.import_module"): "an extra, whose name stands in the source",
    ("__init__.py", "importlib.import_module"): "the rooms of the package, when they are used",
    ("engine/training/objectives/__init__.py", "importlib.import_module"): "the files beside it",
    ("networks/registry.py", "importlib.import_module"): "a network that a user names",
    ("networks/pretrained.py", "torch.load"): "tensors alone, of a file whose bytes are known",
    ("data/polygons/formats/yolo.py", "import yaml"): "BaseLoader alone, which makes but texts",
    ("engine/workers/ray_cluster.py", "import socket"): "whether a cluster of the user answers",
}
PROCESSES = frozenset({"run", "Popen", "call", "check_call", "check_output"})


def offenses(text: str) -> list[str]:
    """Return what a module's source does that no module may."""
    tree = ast.parse(text)
    origins = dict(_origins(tree))
    loads = {
        id(node.func): node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _name(node.func, origins) == "numpy.load"
    }
    found = []
    for node in ast.walk(tree):
        found += _imports(node)
        read = isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load)
        name = _name(node, origins) if read else ""
        if name in NAMES or name.startswith(STARTS) or name in DOTTED:
            found.append(name)
        if name == "numpy.load" and not _is(loads.get(id(node)), "allow_pickle", False):
            found.append("numpy.load without allow_pickle=False")
        if isinstance(node, ast.Call):
            found += _call(node, _name(node.func, origins))
    return found


def _origins(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield what names stand for after the imports of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (
                    alias.asname or alias.name.partition(".")[0],
                    (alias.name if alias.asname else alias.name.partition(".")[0]),
                )
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _name(node: ast.expr, origins: dict[str, str]) -> str:
    """Return ``numpy.load`` for whatever a module calls it; empty: no name."""
    if isinstance(node, ast.Attribute):
        owner = _name(node.value, origins)
        return f"{owner}.{node.attr}".removeprefix("builtins.") if owner else ""
    return origins.get(node.id, node.id) if isinstance(node, ast.Name) else ""


def _imports(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module:
        names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    else:
        return
    for name in names:
        parts = name.split(".")
        if {".".join(parts[:n]) for n in range(1, len(parts) + 1)} & MODULES or name in NAMES:
            yield f"import {name}"


def _call(node: ast.Call, name: str) -> Iterator[str]:
    owner, _, function = name.rpartition(".")
    if name == "torch.load" and not _is(node, "weights_only", True):
        yield "torch.load without weights_only=True"
    if owner == "subprocess" and function in PROCESSES:
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        command = node.args[0] if node.args else given.get("args")
        if isinstance(command, (ast.Constant, ast.JoinedStr, ast.BinOp)):
            yield "a command that is one text"
    if name.rpartition(".")[2] == "import_extra" and isinstance(node.args[0], ast.Constant):
        yield from (f"import {node.args[0].value}" for _ in MODULES & {node.args[0].value})
    for keyword in node.keywords:
        # The other loaders of YAML make whatever a tag names, or guess at types.
        if keyword.arg == "Loader" and getattr(keyword.value, "attr", "") != "BaseLoader":
            yield "Loader"
        if keyword.arg == "shell" and not _is(node, "shell", False):
            yield "shell"
        if keyword.arg == "allow_pickle" and not _is(node, "allow_pickle", False):
            yield "allow_pickle"
        if keyword.arg == "weights_only" and not _is(node, "weights_only", True):
            yield "weights_only"
    pickling = ("read_pickle", "to_pickle", "unsafe_load", "full_load")
    if isinstance(node.func, ast.Attribute) and node.func.attr in pickling:
        yield node.func.attr


def _is(node: ast.Call | None, keyword: str, wanted: bool) -> bool:
    """Return whether a call gives a keyword as this word, written out."""
    values = [each.value for each in node.keywords if each.arg == keyword] if node else []
    return any(isinstance(value, ast.Constant) and value.value is wanted for value in values)


def test_no_module_can_run_what_it_reads_or_talk_to_a_network() -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), offense)
        for path in ROOT.rglob("*.py")
        for offense in offenses(path.read_text(encoding="utf-8"))
    }
    assert found == set(ALLOWED)


@pytest.mark.parametrize(
    "text",
    [
        *(f"import {module}" for module in sorted(MODULES)),
        *(f"from {module} import anything" for module in sorted(MODULES)),
        *(f"import {name.split('.')[0]}\nx = {name}" for name in sorted(NAMES) if "." in name),
        *(f"{name}('1')" for name in sorted(NAMES) if "." not in name),
        "import torch\ntorch.multiprocessing.spawn(work)",
        "import http.server",
        "import pickle as p",
        "from torch import load as weights",
        "from torch import multiprocessing",
        "import torch as t\nt.load('a', weights_only=True)",
        "import builtins\nbuiltins.eval('1')",
        "import numpy as np\nnp.load('a')",
        "import numpy as np\nnp.load('a', allow_pickle=True)",
        "import numpy as np\nnp.load('a', allow_pickle=maybe)",
        "from numpy import load\nread = load",
        "import numpy as np\nread = np.load",
        "import os\nos.execv('a', [])",
        "import os as o\no.spawnl(0, 'a')",
        "import subprocess\nsubprocess.run(['a'], shell=True)",
        "import subprocess\nsubprocess.run(['a'], shell=maybe)",
        "import subprocess as s\ns.Popen('a b')",
        "from subprocess import check_output\ncheck_output(f'a {b}')",
        "import subprocess\nsubprocess.call(args='a')",
        "import xml.etree.ElementTree as tree\ntree.parse('a')",
        "table.read_pickle('a')",
        "import_extra('yaml', extra='a', purpose='b')",
        "library.load(text, Loader=library.FullLoader)",
        "library.load(text, Loader=loader)",
        "library.unsafe_load(text)",
    ],
)
def test_each_rule_bites(text: str) -> None:
    assert offenses(text)


@pytest.mark.parametrize(
    "text",
    [
        "import torch\ntorch.compile(network)",
        "import re\nre.compile('a')",
        "import numpy as np\nnp.load('a', allow_pickle=False)",
        "network.eval()",
        "import subprocess\nsubprocess.run(['git', 'status'])",
        "import urllib.parse",
        "from concurrent.futures import ThreadPoolExecutor",
        "from defusedxml import ElementTree",
        "import_extra('roifile', extra='a', purpose='b')",
        "library.load(text, Loader=library.BaseLoader)",
    ],
)
def test_nothing_else_is_forbidden(text: str) -> None:
    assert offenses(text) == []
