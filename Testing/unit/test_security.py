"""Nothing that is loaded can run code: looked up in the byte code of every module that loads."""

from __future__ import annotations

import ast
import dis
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import pytest

ROOT = Path(__file__).resolve().parents[2] / "ISDMAESegmentation"
MODULES = sorted([*ROOT.rglob("isdmae/**/*.py"), *ROOT.rglob("ISDMAESegmentationLib/*.py")])

RUNNERS = {"eval", "exec", "compile", "__import__", "execfile"}
"""Built-in functions that turn text into code."""
LOADERS = {
    "pickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "code", "runpy",
    "subprocess", "multiprocessing", "socket", "socketserver", "http", "urllib", "requests",
    "ftplib", "xmlrpc", "zipfile", "tarfile", "ctypes", "importlib",
}  # fmt: skip
"""Modules that run code from data, start processes, open connections or unpack archives."""
CALLS = {"system", "popen", "import_module", "load_module", "loads_pickle", "spawnl", "execv"}
GLOBAL = ("LOAD_GLOBAL", "LOAD_NAME")
ATTRIBUTE = ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM")
ALLOWED = {
    # Names of its own, from a table of its own: `from isdmae import segment`.
    ("isdmae/__init__.py", "importlib"),
    ("isdmae/__init__.py", "import_module"),
    # Of installed packages the versions: importlib.metadata imports nothing.
    ("ISDMAESegmentationLib/install.py", "importlib"),
    # taskkill on Windows, with a number as its only argument.
    ("ISDMAESegmentationLib/process_tree.py", "subprocess"),
}


def parts_of(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from parts_of(constant)


def findings(source: str, name: str) -> set[str]:
    """What byte code names that could run, fetch or unpack something."""
    found = set()
    for code in parts_of(compile(source, name, "exec")):
        for step in dis.get_instructions(code):
            word = str(step.argval)
            top = word.partition(".")[0]
            runs = step.opname in GLOBAL and word in RUNNERS
            called = step.opname in ATTRIBUTE and word in CALLS
            if step.opname == "IMPORT_NAME" and top in LOADERS:
                found.add(top)
            elif runs or called:
                found.add(word)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_module_runs_what_it_loads(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    allowed = {word for where, word in ALLOWED if where == name}
    assert findings(path.read_text(encoding="utf-8"), name) <= allowed


def test_arrays_are_loaded_without_pickles_and_weights_as_safetensors() -> None:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            called = ast.unparse(node.func)
            assert called not in ("torch.load", "torch.jit.load", "torch.hub.load"), path
            if called in ("np.load", "numpy.load", "np.save"):
                given = {word.arg: ast.unparse(word.value) for word in node.keywords}
                assert given.get("allow_pickle") == "False", path


def test_what_is_forbidden_would_be_seen() -> None:
    for source, word in (
        ("import pickle", "pickle"),
        ("def f(text):\n    return [eval(t) for t in text]", "eval"),
        ("from os import system", "system"),
        ("import os\nclass A:\n    run = lambda self: os.popen('ls')", "popen"),
        ("from urllib.request import urlopen", "urllib"),
    ):
        assert findings(source, "made up") == {word}
    assert findings("import re\nre.compile('a')\nnet = net.eval()", "made up") == set()
