"""What the Extension Manager installs, and which calls of Slicer the module makes."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "ISDMAESegmentation"
LIBRARY = MODULE / "ISDMAESegmentationLib"
KNOWN_CALLS = Path(__file__).with_name("known_slicer_api.txt")
NOT_INSTALLED = ("Testing", "__pycache__", "CMakeLists.txt", "pyproject.toml")
# Made by pip in a checkout.
GENERATED = ("isdmae.egg-info", "build", "dist")


def cmake_list(name: str) -> set[str]:
    text = (MODULE / "CMakeLists.txt").read_text(encoding="utf-8")
    body = re.search(rf"set\({name}\n(.*?)\n\s*\)", text, re.DOTALL)
    assert body is not None
    return {line.strip() for line in body.group(1).splitlines()}


def folder_list() -> tuple[set[str], set[str]]:
    scripts, resources = set(), set()
    for path in MODULE.rglob("*"):
        parts = path.relative_to(MODULE).parts
        skipped = any(part in NOT_INSTALLED + GENERATED for part in parts)
        if path.is_dir() or skipped or any(part.startswith(".") for part in parts):
            continue
        name = "/".join(parts)
        (scripts if path.suffix == ".py" else resources).add(name)
    return scripts, resources


def test_every_file_is_listed_for_installation() -> None:
    scripts, resources = folder_list()
    listed = {
        name.replace("${MODULE_NAME}", "ISDMAESegmentation")
        for name in cmake_list("MODULE_PYTHON_SCRIPTS")
    }
    assert listed == scripts
    assert cmake_list("MODULE_PYTHON_RESOURCES") == resources


def test_the_extension_describes_itself() -> None:
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert 'set(EXTENSION_DEPENDS "PyTorch")' in text
    assert "project(ISDMAESegmentation)" in text
    for word in ("HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS"):
        assert f"set(EXTENSION_{word} " in text
    described = re.search(r'EXTENSION_DESCRIPTION "([^"]+)"', text)
    assert described is not None
    assert ";" not in described.group(1)  # the packaging reads it as a list of CMake
    entry = json.loads((ROOT / "Resources" / "ISDMAESegmentation.json").read_text("utf-8"))
    assert list(entry) == sorted(entry)
    assert entry["build_dependencies"] == ["PyTorch"]
    assert entry["category"] == "Segmentation"
    homepage = re.search(r'EXTENSION_HOMEPAGE "([^"$]+)"', text)
    assert homepage is not None
    assert entry["scm_url"] == f"{homepage.group(1)}.git"
    for picture in re.findall(r'URLS? "\$\{EXTENSION_HOMEPAGE\}/raw/main/([^"]+)"', text):
        assert (ROOT / picture).is_file()
    assert text.count("https://") == 1


def test_requirements_leave_slicers_own_packages_alone() -> None:
    text = (MODULE / "Resources" / "requirements.txt").read_text(encoding="utf-8")
    names = [re.split(r"[<>=! ]", line)[0] for line in text.splitlines() if line[:1].isalpha()]
    assert names == ["safetensors"]
    assert "==" not in text


def test_the_training_package_is_installed_beside_the_module() -> None:
    """As `ISDMAESegmentationLib.training_command` and `isdmae_train.config.recipes` look for it."""
    text = (MODULE / "CMakeLists.txt").read_text(encoding="utf-8")
    loop = re.search(r"foreach\(folder (.*?)\)(.*?)endforeach\(\)", text, re.DOTALL)
    assert loop is not None
    assert loop.group(1).split() == ["isdmae_train", "recipes"]
    assert "install(DIRECTORY" in loop.group(2)
    for name in loop.group(1).split():
        assert (ROOT / "Training" / name).is_dir()


def test_requirements_for_training_are_those_of_the_package() -> None:
    """All of its distribution's but TensorBoard, which is optional, and what the worker has."""

    def names(lines: list[str]) -> set[str]:
        return {re.split(r"[<>=! ;]", line.strip(' ",'))[0] for line in lines if line.strip()}

    text = (ROOT / "Training" / "pyproject.toml").read_text(encoding="utf-8")
    body = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    assert body is not None
    file = MODULE / "Resources" / "requirements-training.txt"
    listed = [line for line in file.read_text("utf-8").splitlines() if not line.startswith("#")]
    wanted = names(body.group(1).splitlines()) - {"isdmae", "torch", "tensorboard"}
    assert names(listed) == wanted


def test_the_module_file_stays_thin() -> None:
    lines = (MODULE / "ISDMAESegmentation.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120


@pytest.mark.parametrize("path", sorted(LIBRARY.glob("*.py")), ids=lambda path: path.name)
def test_the_slicer_process_imports_neither_torch_nor_isdmae(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            imported.add((node.module or "").partition(".")[0])
    assert not imported & {"torch", "isdmae", "isdmae_train", "SimpleITK", "monai"}


@pytest.mark.parametrize("path", sorted(LIBRARY.glob("*.py")), ids=lambda path: path.name)
def test_the_panel_opens_in_an_old_slicer_to_say_that_it_is_old(path: Path) -> None:
    """Slicer 5.8 has Python 3.9, which knows none of these arguments."""
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    named = {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)}
    assert not named & {"strict", "slots", "kw_only"}


@pytest.mark.parametrize("path", sorted(LIBRARY.glob("*.py")), ids=lambda path: path.name)
def test_no_function_makes_slicer_a_name_of_its_own(path: Path) -> None:
    """``import slicer.packaging`` in a function does, and where it fails, the name is unbound."""
    for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(function, ast.FunctionDef):
            inner = [node for node in ast.walk(function) if isinstance(node, ast.Import)]
            assert not [a for node in inner for a in node.names if "." in a.name and not a.asname]


def slicer_names(path: Path) -> set[str]:
    """Every dotted name that starts at qt, ctk, vtk or slicer, and every connected signal."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            dotted = dotted_name(node)
            if dotted and dotted.partition(".")[0] in ("qt", "ctk", "vtk", "slicer"):
                names.add(dotted)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "connect":
            names.add(f"signal {ast.literal_eval(node.args[0])}")
    return names


def dotted_name(node: ast.AST) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = dotted_name(node.value)
        return f"{head}.{node.attr}" if head else None
    return None


def test_only_known_calls_of_slicer_are_made() -> None:
    """A call that the list does not hold is looked up in Slicer's documentation, then added."""
    used = slicer_names(MODULE / "ISDMAESegmentation.py")
    for path in LIBRARY.glob("*.py"):
        used |= slicer_names(path)
    known = set(KNOWN_CALLS.read_text(encoding="utf-8").splitlines())
    assert sorted(used - known) == []
