"""The compared heads, each in a file of its own, for DVC: what a head is, and digests of the code that it is built of.

A change of settings or of a pool rewrites the files of the heads that it touches, and no others: so a new pool
retrains nothing, and an edited one only the heads that have it. Comments and docstrings are not part of a digest.
"""

import ast
import hashlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.files import json_text, write_aside
from pipeline.core.lock import hold
from pipeline.heads.presets import REFERENCES
from pipeline.heads.spec import HeadSpec
from pipeline.project import Project

if TYPE_CHECKING:
    from pipeline.settings.settings import Settings

ROOM = "pipeline.heads"
BUILDERS = (f"{ROOM}.classifier", f"{ROOM}.registry")  # what builds and reads every head


def write_specs(project: Project, settings: "Settings") -> str:
    """Writes HEAD.json for each head: compared, of ablation, references or conditions; removes those of others.

    Returns:
        Which heads are compared, and where the files are, for people.
    """
    with hold(project.specs, project.ablation_specs, project.reference_specs, project.condition_specs):
        _write(project.condition_specs, {name: settings.head(name) for name in settings.conditions.heads})
        _write(project.reference_specs, REFERENCES)
        _write(project.specs, settings.compared())
        _write(project.ablation_specs, {name: settings.head(name) for name in settings.ablation.heads})
    return f"specs: {len(settings.compare.heads)} heads are compared: {project.specs}"


def _write(folder: Path, specs: dict[str, HeadSpec]) -> None:
    with write_aside(folder) as aside:
        aside.mkdir()
        for name, spec in specs.items():
            content, path = {"spec": spec.model_dump(), "code": code_of(spec.pool)}, aside / f"{name}.json"
            path.write_text(json_text(content, path), encoding="utf-8")


def code_of(pool: str) -> dict[str, str]:
    """Every module of the room that a head is built of, with the digest of its code, by name in order.

    >>> "pipeline.heads.pools.attention" in code_of("attention2"), "pipeline.heads.pools.pma" in code_of("attention2")
    (True, False)
    """
    waiting = {*BUILDERS, f"{ROOM}.pools.{pool}"}
    trees: dict[str, ast.Module] = {}
    while waiting:
        module = waiting.pop()
        trees[module] = ast.parse(_path(module).read_text(encoding="utf-8"))
        waiting |= {name for name in _imported(trees[module]) if _is_module(name)} - trees.keys()
    return {module: _digest(trees[module]) for module in sorted(trees)}


def _path(module: str) -> Path:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no file of the module {module}")
    return Path(spec.origin)


def _imported(tree: ast.Module) -> Iterator[str]:
    """Dotted names in this room that a module imports; of what it takes from a module, both names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.startswith(f"{ROOM}."))


def _is_module(name: str) -> bool:
    """Whether a dotted name is that of a file of this room, and not of a package or of something in a file."""
    parent = find_spec(name.rpartition(".")[0])
    if parent is None or parent.submodule_search_locations is None:
        return False
    spec = find_spec(name)
    return spec is not None and spec.submodule_search_locations is None


def _digest(tree: ast.Module) -> str:
    """SHA-256 of code without its comments and docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            del node.body[0]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()
