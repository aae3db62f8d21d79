"""The design's rules about modules: rooms, the order of imports, who may import what, and what each stage depends on.

Imports are looked at file by file, wherever they stand; those for annotations alone (TYPE_CHECKING) do not count.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.heads.declare import code_of
from pipeline.heads.registry import specs
from pipeline.project import Project
from pipeline.settings.settings import Settings
from tests.support.settings import ROOT

PACKAGE = ROOT / "pipeline"

# What each room may import beside core/ and itself. Within a room files import each other, but never in a circle.
MAY_IMPORT = {
    "core": set(),
    "project": set(),
    "images": set(),
    "catalogue": set(),
    "embeddings": set(),
    "metrics": set(),
    "heads": {"project"},
    "settings": {"heads", "project"},
    "sets": {"catalogue", "project"},
    "ingest": {"catalogue", "images", "project"},
    "embed": {"catalogue", "embeddings", "images", "metrics", "project"},
    "training": {"catalogue", "embeddings", "heads", "metrics", "project"},
    "evaluation": {"catalogue", "embeddings", "export", "heads", "metrics", "project", "sets", "training"},
    "swap": {"catalogue", "embeddings", "evaluation", "export", "heads", "metrics", "project", "training"},
    "report": {"catalogue", "evaluation", "heads", "images", "metrics", "project"},
    # folding is read by the stages; the rest of it reads them
    "export": {
        "catalogue",
        "embed",
        "embeddings",
        "evaluation",
        "heads",
        "images",
        "metrics",
        "project",
        "report",
        "training",
    },
}
ONLY_IMPORTERS = {
    "timm": {"embed"},
    "torchvision": {"embed"},
    "openvino": {"embed"},
    "h5py": {"catalogue", "embeddings", "bench"},
    "onnxruntime": {"bench", "export"},
    "onnx": {"export"},
    "distributed": {"embed"},
    "matplotlib": {"report"},
    "jinja2": {"export", "report"},
    "PIL": {"images", "ingest", "bench"},
    "simplejpeg": {"images"},
    "pickle": {"ingest"},
    "click": {"cli"},
}
# Messages, bars, paths, locks, processes, how a file gets to its place: no result depends on them, nor does a stage.
CORE = {f"pipeline.core.{name}" for name in ("errors", "failure", "files", "lock", "processes", "progress")}
NOT_DEPENDED_ON = {*CORE, "pipeline.project"}
NEEDS_TORCH = {"train", "evaluate", "references", "conditions", "cost", "ablate", "swap", "merge"}
MOST_ENTRIES, MOST_LINES_A_FILE, MOST_LINES_A_FUNCTION, MOST_PARAMETERS, MOST_POSITIONAL = 20, 300, 40, 6, 3


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {_module(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names that some code imports, wherever it stands, but for annotations alone."""
    for node in ast.iter_child_nodes(tree):
        if _is_type_checking(node):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        yield from _imports(node)


def _file_of(name: str) -> str | None:
    """The module of this package that a dotted name is, or lies in; None for others and for packages' words."""
    while name.startswith("pipeline.") and name not in FILES:
        name = name.rpartition(".")[0]
    return name if name in FILES and name != "pipeline" else None


@cache
def _files_imported(module: str) -> frozenset[str]:
    return frozenset(file for name in _imports(_tree(module)) if (file := _file_of(name)))


def _reached(modules: set[str]) -> set[str]:
    """Modules that some lead to, themselves included."""
    waiting, seen = set(modules), set()
    while waiting:
        module = waiting.pop()
        seen.add(module)
        waiting |= _files_imported(module) - seen
    return seen


def _room(module: str) -> str:
    return module.split(".")[1]


def _functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for module in FILES:
        for node in ast.walk(_tree(module)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield module, node


def test_the_listing_is_short_enough_to_read():
    entries = [path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= MOST_ENTRIES, sorted(entries)


def test_no_file_and_no_function_is_too_long():
    long = [module for module, path in FILES.items() if len(path.read_text().splitlines()) > MOST_LINES_A_FILE]
    long += [
        f"{module}.{node.name}"
        for module, node in _functions()
        if (node.end_lineno or 0) - node.lineno + 1 > MOST_LINES_A_FUNCTION
    ]
    assert not long


def test_no_function_takes_too_many_parameters_and_those_behind_the_third_go_by_name():
    wrong = []
    for module, node in _functions():
        if _room(module + ".") == "cli":
            continue  # a command's parameters are its options
        positional = [arg.arg for arg in node.args.posonlyargs + node.args.args if arg.arg not in ("self", "cls")]
        if len(positional) + len(node.args.kwonlyargs) > MOST_PARAMETERS:
            wrong.append(f"{module}.{node.name}")
        # A stage is stage(project, ..., settings): that order is learnt once.
        if len(positional) > MOST_POSITIONAL + (positional[:1] + positional[-1:] == ["project", "settings"]):
            wrong.append(f"{module}.{node.name}: {positional}")
    assert not wrong


def test_words_of_packages_hold_no_code():
    """So that importing a module of a room does not import the room."""
    for module, path in FILES.items():
        if path.name == "__init__.py" and module != "pipeline":  # whose code is the public names, and imports nothing
            assert [type(node) for node in _tree(module).body] == [ast.Expr], module


@pytest.mark.parametrize("module", sorted(FILES.keys() - {"pipeline"}))
def test_rooms_import_only_what_they_may(module):
    room = _room(module)
    if room == "cli":
        return
    allowed = MAY_IMPORT[room] if room != "bench" else MAY_IMPORT.keys()
    assert {_room(file) for file in _files_imported(module)} - {room, "core"} <= set(allowed)


def test_no_files_import_each_other_in_a_circle():
    for module in FILES:
        assert module not in _reached(set(_files_imported(module))), f"{module} imports itself by a way round"


@pytest.mark.parametrize("library", ONLY_IMPORTERS)
def test_only_its_room_imports_a_library(library):
    rooms = {
        _room(module)
        for module in FILES.keys() - {"pipeline"}
        if any(name.split(".")[0] == library for name in _imports(_tree(module)))
    }
    assert rooms == ONLY_IMPORTERS[library]


def _stages() -> dict[str, dict]:
    return YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]


@cache
def _command(name: str) -> ast.FunctionDef:
    return next(
        node for node in _tree("pipeline.cli.stages").body if isinstance(node, ast.FunctionDef) and node.name == name
    )


def _reached_by(stage: str) -> set[str]:
    """The files that a stage's command leads to and whose code its outs depend on."""
    start = {file for name in _imports(_command(stage)) if (file := _file_of(name))}
    code = {module for module in _reached(start) if FILES[module].name != "__init__.py"}
    return code - NOT_DEPENDED_ON


def _covered(dep: str) -> set[str]:
    """The modules that a path in dvc.yaml covers."""
    path = ROOT / dep
    return {_module(file) for file in ([path] if path.is_file() else path.rglob("*.py")) if file.suffix == ".py"}


@pytest.mark.parametrize("stage", _stages())
def test_a_stage_depends_on_the_smallest_files_and_folders_that_cover_what_it_reaches(stage):
    deps = [dep for dep in _stages()[stage]["deps"] if dep.startswith("pipeline/") and not dep.endswith("/template")]
    declared = set().union(*map(_covered, deps))
    if any(dep.startswith("cache/specs/") for dep in _stages()[stage]["deps"]):
        declared |= set().union(*(code_of(pool) for pool in specs()))  # what a head is built of
    reached = _reached_by(stage)
    if stage == "specs":  # it reads the code of pools, and need not import it
        reached |= {module for module in FILES if _room(module + ".") == "heads"}
    words = {module for module, path in FILES.items() if path.name == "__init__.py"}
    assert reached - declared == set(), f"deps of {stage} lack these"
    for dep in deps:
        assert _covered(dep) - words <= reached, f"{dep} is more than {stage} reaches"


def test_what_a_head_is_built_of_is_what_its_pool_reaches():
    for pool in specs():
        start = {f"pipeline.heads.pools.{pool}", "pipeline.heads.classifier", "pipeline.heads.registry"}
        reached = {module for module in _reached(start) if _room(module) == "heads"}
        assert code_of(pool).keys() == {module for module in reached if FILES[module].name != "__init__.py"}


@pytest.mark.parametrize("stage", _stages())
def test_a_stage_reads_no_setting_that_its_params_do_not_name(stage):
    """Sections of the settings that a stage's own file takes; what heads are is behind cache/specs."""
    (start,) = {file for name in _imports(_command(stage)) if (file := _file_of(name))}
    taken = set(re.findall(r"\bsettings\.([a-z_]+)\b", FILES[start].read_text(encoding="utf-8")))
    taken |= set(re.findall(r"\bcontext\.settings\.([a-z_]+)\b", ast.unparse(_command(stage))))
    declared = {
        name.split(".")[0]
        for params in _stages()[stage].get("params", [])
        for names in params.values()
        for name in names
    }
    methods = {
        "head": "heads",
        "compared": "heads",
        "backbone": "backbones",
        "backbones_of": "backbones",
        "swaps": "swap",
    }
    needed = {methods.get(name, name) for name in taken} & Settings.model_fields.keys()
    if any(dep.startswith("cache/specs/") for dep in _stages()[stage]["deps"]):
        needed -= {"heads", "compare"}
    needed -= {"embed"}  # how stage one runs is no part of what it gives
    assert needed <= declared


def test_no_stage_writes_into_another_s_outs_or_deps():
    owners: dict[str, str] = {}
    for stage, entry in _stages().items():
        outs = [out if isinstance(out, str) else next(iter(out)) for out in entry["outs"] + entry.get("metrics", [])]
        for out in outs:
            assert not any(out.startswith(f"{taken}/") or taken.startswith(f"{out}/") for taken in owners), out
            assert out not in owners, f"{out} is of {owners[out]} and of {stage}"
            owners[out] = stage
    assert {owner for out, owner in owners.items() if out.startswith("reports/")} == {"report"}


def test_the_graph_and_the_program_agree_on_paths():
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    project, backbone, head = Project(), "${item.backbone}", "${item.head}"
    for path in (
        project.catalogue,
        project.images,
        project.photos,
        project.sets,
        project.labels,
        project.description,
        project.specs / f"{head}.json",
        project.ablation_specs,
        project.store(backbone),
        project.checkpoint(backbone, head),
        project.results(backbone, head).parent,
        project.popularity,
        project.cost(backbone),
        project.ablation,
        project.adapters,
        project.swaps,
        project.all_merged,
        project.gallery,
        project.tables,
        project.times,
        project.plots,
        project.metrics,
        project.page,
    ):
        assert f"- {path}" in text


def test_what_needs_no_torch_starts_without_it(tmp_path):
    """With a package `torch` that cannot be imported first on the path: some libraries look for it by its name."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text("raise ImportError('no torch here')")
    stages = _stages().keys() - NEEDS_TORCH
    starts = sorted(file for stage in stages for name in _imports(_command(stage)) if (file := _file_of(name)))
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import pipeline.cli.main, {', '.join(starts)}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_the_readme_names_every_room_and_counts_the_heads():
    from pipeline.heads.presets import PRESETS, PUBLISHED

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    entries = {f"{path.name}/" if path.is_dir() else path.name for path in PACKAGE.iterdir()}
    assert {name for name in entries - {"__pycache__/", "__init__.py"} if name not in text} == set()
    assert f"lists {len(PRESETS)} heads" in " ".join(text.split())
    assert f"the {len(PUBLISHED)} of the authors' notebooks" in " ".join(text.split())
