"""The design's rules about modules: layers, who may import what, and what each stage of the graph depends on."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline import layout

ROOT = Path(__file__).resolve().parent.parent

# Imports go down only: never up, never sideways. A package counts as one module.
LAYERS = [
    {"errors", "layout", "machine", "published"},
    {"files", "progress"},
    {"heads", "metrics", "statistics", "optimiser", "provenance"},
    {"catalogue", "sources", "images", "backbones", "engines", "embeddings", "runs", "params", "scores", "adapters"},
    {"sets", "batches", "summary", "swap_tables"},
    {"tuning"},
    {"ingest", "extract", "cache", "train", "evaluate", "ablation", "floor", "cost", "swap", "gallery", "report"},
    {"bench"},
    {"cli"},
    {"__main__"},
]
ONLY_IMPORTERS = {
    "timm": {"backbones"},
    "torchvision": {"backbones"},
    "openvino": {"engines"},
    "h5py": {"catalogue", "embeddings", "bench"},
    "onnxruntime": {"bench"},
    "distributed": {"extract"},
    "matplotlib": {"report"},
    "jinja2": {"report"},
    "PIL": {"images", "sources", "bench"},
    "simplejpeg": {"images"},
    "pickle": {"sources"},
    "click": {"cli"},
}
# Messages, bars and the way a file is put in its place: no result depends on them, so no stage runs again for them.
NOT_DEPENDED_ON = {"errors", "files", "progress"}
NO_TORCH = ("report", "gallery", "swap_tables", "adapters", "params", "sets", "ingest", "floor", "extract", "cache")


def _files() -> dict[str, Path]:
    """Each module by its dotted name below the package."""
    package = ROOT / "pipeline"
    names = {path: path.relative_to(package).with_suffix("").parts for path in package.rglob("*.py")}
    return {".".join(parts).removesuffix(".__init__") or "__init__": path for path, parts in names.items()}


FILES = _files()


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _imports(tree: ast.AST) -> set[str]:
    """Dotted names that some code imports, wherever it stands, but for annotations alone."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if _is_type_checking(node):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        found |= _imports(node)
    return found


@cache
def _imports_of(module: str) -> set[str]:
    return _imports(ast.parse(FILES[module].read_text(encoding="utf-8")))


def _own(imported: str) -> str | None:
    """The module of this package that an imported dotted name lies in."""
    if not imported.startswith("pipeline."):
        return None
    name = imported.removeprefix("pipeline.")
    while name and name not in FILES:
        name = name.rpartition(".")[0]
    return name or None


def _room(module: str) -> str:
    return module.partition(".")[0]


def test_every_module_has_a_layer():
    rooms = {_room(module) for module in FILES} - {"__init__"}
    assert rooms == set().union(*LAYERS)


@pytest.mark.parametrize("module", sorted(set(FILES) - {"__init__"}))
def test_imports_go_down(module):
    level = {room: index for index, rooms in enumerate(LAYERS) for room in rooms}
    mine = _room(module)
    others = {_room(own) for imported in _imports_of(module) if (own := _own(imported))} - {mine}
    assert {other for other in others if level[other] >= level[mine]} == set()


@pytest.mark.parametrize("library", ONLY_IMPORTERS)
def test_only_its_room_imports_a_library(library):
    rooms = {_room(module) for module in FILES if any(name.split(".")[0] == library for name in _imports_of(module))}
    assert rooms == ONLY_IMPORTERS[library]


def _reached(roots: set[str]) -> set[str]:
    """Modules that some imported names lead to, themselves included."""
    waiting, seen = {own for name in roots if (own := _own(name))}, set()
    while waiting:
        module = waiting.pop()
        seen.add(module)
        waiting |= {own for name in _imports_of(module) if (own := _own(name))} - seen
    return seen


def test_what_needs_no_torch_starts_without_it():
    code = f"import sys, {', '.join(f'pipeline.{module}' for module in NO_TORCH)}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def _stages() -> dict[str, dict]:
    return YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]


def _command_imports(command: str) -> set[str]:
    """What the body of one command imports."""
    tree = ast.parse(FILES["cli"].read_text(encoding="utf-8"))
    return next(_imports(node) for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == command)


@pytest.mark.parametrize("stage", _stages())
def test_a_stage_depends_on_every_module_it_reaches(stage):
    declared = {
        dep.removeprefix("pipeline/").removesuffix(".py")
        for dep in _stages()[stage]["deps"]
        if dep.startswith("pipeline/")
    }
    needed = {_room(module) for module in _reached(_command_imports(stage))} - NOT_DEPENDED_ON
    assert needed <= declared, f"add to deps of {stage}: {sorted(needed - declared)}"
    assert declared <= needed, f"not used by {stage}: {sorted(declared - needed)}"


def test_the_graph_and_the_program_agree_on_paths():
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    item = ("${item.backbone}", "${item.head}")
    for path in (
        layout.CATALOGUE,
        layout.SETS,
        layout.LABELS,
        layout.DATA_REPORT,
        layout.POPULARITY,
        layout.TABLES,
        layout.GALLERY,
        layout.STORES,
        layout.HEADS,
        layout.ADAPTERS,
        layout.SWAPS,
        layout.store(item[0]),
        layout.cost(item[0]),
        layout.head(*item),
        layout.scores(item[0]),
        layout.metrics(item[0]),
        layout.FLOOR_SCORES,
        layout.PLOTS,
    ):
        assert f"- {path}" in text


def test_the_readme_names_every_module():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rooms = {_room(module) for module in FILES} - {"__init__", "__main__"}
    assert {room for room in rooms if f"`{room}.py`" not in text and f"`{room}/`" not in text} == set()
