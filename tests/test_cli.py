"""The command line: every command says what it does; bad input is one clear line, with a status that is not 0.

Most run in this process; a program of their own has what needs a signal, a small disk or a clean start.
"""

import ast
import inspect
import json
import os
import re
import signal
import struct
import subprocess
import sys
import textwrap
import time
from importlib import metadata

import click
import numpy as np
import pytest

import pipeline.cli.main  # noqa: F401 (the commands join their group)
from pipeline.cli.group import cli
from pipeline.core.errors import StageError
from pipeline.heads.presets import PRESETS
from tests.support.images import jpeg, write_table_source
from tests.support.program import COMMAND, call, failed, run
from tests.support.settings import ABSENT, ROOT, make_settings, write_settings

MOST_STATEMENTS = 10


def _commands(group=cli, words=()):
    """Every command and group below a group, with the words that lead to it."""
    for name, command in group.commands.items():
        yield (*words, name), command
        if isinstance(command, click.Group):
            yield from _commands(command, (*words, name))


COMMANDS = dict(_commands())


def settings(project, changes=None):
    """A params.yaml in a project's root, and the words that let the program read it."""
    return write_settings(project / "params.yaml", changes)


def source(name, path):
    return {"source.name": name, "source.path": path}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_says_what_it_does_and_does_it_in_a_few_lines(words):
    callback = inspect.unwrap(COMMANDS[words].callback)
    function = ast.parse(textwrap.dedent(inspect.getsource(callback))).body[0]
    nodes = [node for statement in function.body for node in ast.walk(statement)]
    assert ast.get_docstring(function)
    assert len([node for node in nodes if isinstance(node, ast.stmt)]) - 1 <= MOST_STATEMENTS
    loops = (ast.For, ast.AsyncFor, ast.While, ast.comprehension)
    assert not [ast.unparse(node) for node in nodes if isinstance(node, loops)]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_of_a_command_says_what_it_does(words):
    options = [param for param in COMMANDS[words].params if isinstance(param, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_help_lists_and_refusals_need_no_torch(project):
    """One start for all of them: torch and what it brings take seconds to load."""
    lines = [
        [],
        ["--help"],
        *([*words, "--help"] for words in COMMANDS),
        ["--version"],
        ["heads"],
        ["heads", "--json"],
        ["embed", "lite00"],
        ["embed", "lite0", "--shard", "3/2"],
        ["embed", "lite0", "--shard", "1/2", "--jobs", "2"],
        ["train", "lite0", "nosy_or"],
        ["evaluate", "lite0", "average", "nosy_or"],
        ["cost", "lite00"],
        ["swap", "lite0", "lite00"],
        ["merge", "lite0", "lite0"],
        ["cache", "ls"],
        ["cache", "verify", "lite00"],
        ["cache", "merge", "lite00"],
        ["bench", "train", "lite0", "nosy_or"],
        ["bench", "embed", "--images", ".", "--backbone", "lite00"],
        ["ingest", "--params"],
    ]
    code = f"""
import json, pathlib, sys
sys.path.insert(0, {str(ROOT)!r})
from tests.support.program import call
results = [call(pathlib.Path(), *words) for words in {lines!r}]
print(json.dumps([[result.returncode, result.stdout, result.stderr] for result in results]))
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results, torch = done.stdout.splitlines()
    assert torch == "False"
    said = {" ".join(words): result for words, result in zip(lines, json.loads(results), strict=True)}
    for line, (status, out, err) in said.items():
        assert "Traceback" not in err
        if line.endswith("--help"):
            assert status == 0 and out.startswith("Usage: "), line
    assert [said[line][0] for line in ("--version", "heads", "heads --json", "cache ls")] == [0] * 4
    for line, words in {
        "embed lite00": "unknown backbone 'lite00'; did you mean lite0?",
        "train lite0 nosy_or": "unknown head 'nosy_or'; did you mean noisy_or?",
        "evaluate lite0 average nosy_or": "unknown head 'nosy_or'",
        "cost lite00": "unknown backbone 'lite00'",
        "swap lite0 lite00": "unknown backbone 'lite00'",
        "merge lite0 lite0": "lite0 cannot be swapped for itself",
        "cache verify lite00": "unknown backbone 'lite00'",
        "cache merge lite00": "unknown backbone 'lite00'",
        "bench train lite0 nosy_or": "unknown head 'nosy_or'",
        "bench embed --images . --backbone lite00": "unknown backbone 'lite00'",
    }.items():
        status, _, err = said[line]
        assert status == 2 and err.startswith(f"visagg: {words}") and err.count("\n") == 1, err
    assert said["embed lite0 --shard 3/2"][0] == 2
    assert "'3/2' is no part such as 1/4 or 4/4" in said["embed lite0 --shard 3/2"][2]
    assert said["embed lite0 --shard 1/2 --jobs 2"][0] == 2
    assert "give one of them" in said["embed lite0 --shard 1/2 --jobs 2"][2]


def test_the_program_s_own_process_ends_with_the_status(project):
    assert run(project, "--version").returncode == 0
    assert run(project, "sets").returncode == 1
    assert run(project, "train", "lite0", "nosy_or").returncode == 2


def test_the_version_is_the_installed_one_and_its_absence_is_a_line(project):
    assert call(project, "--version").stdout == f"visagg, version {metadata.version('visagg')}\n"
    nothing = "from importlib import metadata; metadata.distributions = lambda **_: iter(())"
    command = [sys.executable, "-c", f"{nothing}; from pipeline.cli.main import main; main()", "--version"]
    bare = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (bare.stdout, bare.stderr) == ("visagg, version unknown: it is not installed\n", "")


def test_heads_are_listed_with_the_published_parameter_counts_and_their_parts(project):
    rows = json.loads(call(project, "heads", "--dim", "1024", "--classes", "1000", "--json").stdout)
    counts = {row["name"]: row["parameters"] for row in rows}
    published = {
        "average": 1_025_000,
        "attention2_fc": 1_570_024,
        "squeeze_fc": 781_800,
        "squeeze_expand_fc": 1_109_736,
    }
    assert published.items() <= counts.items()
    lines = call(project, "heads").stdout.splitlines()
    assert [line.split() for line in lines[:-1]] == [[name, f"{count:,}"] for name, count in counts.items()]
    copies = make_settings({"heads": {f"copy_of_{row['name']}": row["spec"] for row in rows}})
    assert {name: copies.head(f"copy_of_{name}") for name in PRESETS} == PRESETS


@pytest.mark.parametrize("name", ["dvbpr", "table"])
def test_a_missing_source(project, name):
    result = call(project, *settings(project, source(name, "nowhere")), "ingest")
    failed(result, "nowhere")
    assert result.returncode == 1
    assert not (project / "data/catalogue").exists()


def test_a_file_of_another_type(project):
    (project / "photo.npy").write_bytes(jpeg(0))
    failed(call(project, *settings(project, source("dvbpr", "photo.npy")), "ingest"), "photo.npy")
    np.save(project / "numbers.npy", np.arange(5))
    failed(call(project, *settings(project, source("dvbpr", "numbers.npy")), "ingest"), "numbers.npy")


def test_a_pickle_that_asks_for_a_forbidden_name(project):
    """The name is given, the code is not run, and an older catalogue is still there."""
    payload = b"cposix\nsystem\n(X" + struct.pack("<I", 14) + b"touch executed" + b"tR."
    with open(project / "evil.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (6,)})
        file.write(payload)
    (project / "data/catalogue").mkdir()
    failed(call(project, *settings(project, source("dvbpr", "evil.npy")), "ingest"), "posix.system", "evil.npy")
    assert not (project / "executed").exists()
    assert (project / "data/catalogue").is_dir() and not list((project / "data").glob(".*"))
    subprocess.run(
        [sys.executable, "-c", "import pickle, sys; pickle.loads(sys.stdin.buffer.read())"],
        input=payload,
        cwd=project,
        check=True,
    )
    assert (project / "executed").exists(), "the payload does nothing in a reader that obeys"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sets.max_images": ABSENT, "sets.max_image": 8}, ["sets.max_image", "did you mean max_images"]),
        ({"sets.task": "interest"}, ["sets.task", "interest"]),
        ({"demo.seed": "seven"}, ["demo.seed", "seven"]),
        ({"compare.backbones": ["lite0", "lite9"]}, ["unknown backbone 'lite9'"]),
        ({"compare.heads": ["noisy_nor"]}, ["unknown head 'noisy_nor'", "did you mean noisy_or"]),
        ({"heads.max_fc": {"pool": "mean"}}, ["heads.max_fc: a preset has this name"]),
    ],
    ids=["key", "choice", "type", "backbone", "head", "shadow"],
)
def test_an_unknown_key_or_value_in_the_settings(project, changes, words):
    result = call(project, *settings(project, changes), "ingest")
    failed(result, "params.yaml", *words)
    assert result.returncode == 2


def test_settings_are_those_of_the_project_unless_others_are_given(copied_project):
    write_settings(copied_project / "pipeline/params.yaml", source("table", "the project's"))
    failed(call(copied_project, "ingest"), "the project's")
    failed(call(copied_project, *settings(copied_project, source("table", "others")), "ingest"), "others")
    failed(call(copied_project, "--params", "nowhere.yaml", "ingest"), "nowhere.yaml is missing")


def test_a_fault_of_the_program_s_own_shows_where_it_is(project, monkeypatch):
    monkeypatch.setattr("pipeline.heads.presets.listing", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        call(project, "heads")


def test_an_empty_catalogue(project):
    write_table_source(project, images=0, users=0)
    failed(call(project, *settings(project, source("table", ".")), "ingest"), "no item has a usable image")
    assert not (project / "data/catalogue").exists()


def test_no_label_left_after_filtering(project):
    write_table_source(project)
    words = settings(project, {**source("table", "."), "sets.least_items": 99})
    assert call(project, *words, "ingest").returncode == 0
    failed(call(project, *words, "sets"), "sets.least_items", "99")
    assert not (project / "data/sets.parquet").exists()


def test_weights_of_another_shape(project):
    write_table_source(project)
    words = settings(project, {**source("table", "."), "backbones.lite0.model": "tf_efficientnet_lite2"})
    assert call(project, *words, "ingest").returncode == 0
    failed(call(project, *words, "embed", "lite0"), "do not fit the model")
    assert not list((project / "cache").rglob("*.h5"))


def test_the_hub_out_of_reach(project, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(project))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    write_table_source(project)
    words = settings(project, source("table", "."))
    assert call(project, *words, "ingest").returncode == 0
    result = call(project, *words, "embed", "mobilenetv1_100")
    failed(result, "hub", "set this backbone's weights in params.yaml")


def test_a_stage_without_what_comes_before_it(project):
    failed(call(project, "sets"), "data/catalogue/catalogue.json is missing")
    failed(call(project, "embed", "lite0"), "run visagg ingest")
    failed(call(project, "train", "lite0", "average"), "run visagg embed lite0")
    failed(call(project, "evaluate", "lite0", "average"), "run visagg train lite0 average")
    failed(call(project, "swap"), "run visagg")
    failed(call(project, "report"), "run visagg sets")


def test_ctrl_c_is_one_line_and_leaves_nothing_half_done(project):
    process = subprocess.Popen(
        [*COMMAND, "ingest"],
        cwd=project,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    while not list((project / "data").glob(".catalogue.*.partial")):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.strip().splitlines()[-1] == (
        "visagg: stopped; nothing half-written was left, and it begins anew: run the same command again"
    )
    assert "Traceback" not in errors
    assert not list((project / "data").glob("*catalogue*")) and not list((project / "data").glob(".*"))


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounting a small disk needs root on Linux")
def test_a_full_disk(project):
    small_disk = project / "data"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(small_disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this system does not let a test mount a small disk")
    try:
        result = run(project, "ingest")
        failed(result, "the disk is full")
        assert result.returncode == 1
        assert not (project / "data/catalogue").exists()
    finally:
        subprocess.run(["umount", str(small_disk)], check=True)


def test_who_asks_for_quiet_gets_faults_and_what_was_asked_for_alone(project):
    loud = call(project, "ingest")
    assert "items, 750 with an image" in loud.stdout and loud.stderr
    for words in (["ingest"], ["sets"], ["specs"]):
        done = call(project, "--quiet", *words)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert call(project, "-q", "data").stdout.startswith("source demo, simulated: 750 items, ")
    failed(call(project, "-q", "train", "lite0", "average"), "run visagg embed lite0")
    assert "exclude each other" in call(project, "-q", "-v", "data").stderr


def test_a_fault_shows_where_it_arose_to_who_asks_for_it(project):
    with pytest.raises(StageError):
        call(project, "-v", "sets")


def test_a_stage_ends_with_how_much_there_is_and_where(project):
    write_table_source(project)
    words = settings(project, {**source("table", "."), "sets.stop_categories": ["Clothing", "Nothing"]})
    assert call(project, *words, "ingest").stdout.splitlines()[0].endswith("purchases: data/catalogue")
    lines = call(project, *words, "--set", "sets.least_items=1", "sets").stdout.splitlines()
    assert re.fullmatch(
        r"sets: \d+ sets \(.* train, .* validation, .* test\) with .* labels, of .*: data/sets.parquet", lines[0]
    )
    assert lines[-1] == "sets: stop categories that no item has: Nothing"
    described = json.loads(call(project, *words, "data", "--json").stdout)
    assert described["source"] == "table" and described["sets"].keys() == {"train", "validation", "test"}


def test_a_setting_for_one_command_reaches_it(project):
    assert call(project, "--set", "demo.items=20", "--set", "demo.users=30", "ingest").stdout.startswith(
        "ingest: 20 items"
    )
    failed(call(project, "--set", "demo.itmes=20", "ingest"), "--set: unknown key demo.itmes; did you mean items?")
