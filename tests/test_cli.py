"""Bad input: one clear line, a status that is not 0, nothing half-written that a later run would trust."""

import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.conftest import ROOT, jpeg

COMMAND = [sys.executable, "-m", "pipeline"]


def run(folder, *words, **environment):
    return subprocess.run(
        [*COMMAND, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


def settings(folder, *changes):
    """A params.yaml in the folder with pieces of the shipped one replaced."""
    text = (ROOT / "pipeline/params.yaml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    (folder / "params.yaml").write_text(text)
    return "--params", "params.yaml"


def source(name, path):
    return ("name: demo ", f"name: {name} "), ("path: data/raw ", f"path: {path} ")


def small_table(folder, images=6, users=40):
    """An own catalogue of a few images and users."""
    (folder / "photos").mkdir()
    rows, bought = ["item_id,image,categories"], ["user_id,item_id,time"]
    for i in range(images):
        (folder / f"photos/{i}.jpg").write_bytes(jpeg(i))
        rows.append(f"i{i},photos/{i}.jpg,Clothing > kind {i % 3}|Clothing > odd {i % 2}")
    bought += [f"u{u},i{(u * 5 + j) % images},{j}" for u in range(users) for j in range(3)]
    (folder / "items.csv").write_text("\n".join(rows))
    (folder / "purchases.csv").write_text("\n".join(bought))


def failed(result, *words):
    """The one line that a failed command left."""
    assert result.returncode not in (0, None), result.stdout
    lines = [line for line in result.stderr.strip().splitlines() if line]
    assert len(lines) == 1 and "Traceback" not in result.stderr, result.stderr
    for word in words:
        assert word in lines[0]
    return lines[0]


@pytest.mark.parametrize("name", ["dvbpr", "table"])
def test_a_missing_source(project, name):
    failed(run(project, *settings(project, *source(name, "nowhere")), "ingest"), "nowhere")
    assert not (project / "data/catalogue").exists()


def test_a_file_of_another_type(project):
    (project / "photo.npy").write_bytes(jpeg(0))
    failed(run(project, *settings(project, *source("dvbpr", "photo.npy")), "ingest"), "photo.npy")
    np.save(project / "numbers.npy", np.arange(5))
    failed(run(project, *settings(project, *source("dvbpr", "numbers.npy")), "ingest"), "numbers.npy")


def test_a_pickle_that_asks_for_a_forbidden_name(project):
    """The name is given, the code is not run, and an older catalogue is still there."""
    payload = b"cposix\nsystem\n(X" + struct.pack("<I", 14) + b"touch executed" + b"tR."
    with open(project / "evil.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (6,)})
        file.write(payload)
    pickle.dumps(payload)  # the bytes are data here; only a reader could make them act
    (project / "data/catalogue").mkdir()
    failed(run(project, *settings(project, *source("dvbpr", "evil.npy")), "ingest"), "posix.system", "evil.npy")
    assert not (project / "executed").exists()
    assert (project / "data/catalogue").is_dir() and not list((project / "data").glob(".*"))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("max_images: 8", "max_image: 8", ["sets.max_image", "did you mean max_images"]),
        ("task: interests ", "task: interest ", ["sets.task", "interest"]),
        ("seed: 7", "seed: seven", ["demo.seed", "seven"]),
        ("    - lite1\n", "    - lite9\n", ["unknown backbone 'lite9'"]),
        ("  noisy_or: noisy_or", "  noisy_or: noisy_nor", ["unknown head 'noisy_nor'", "did you mean noisy_or"]),
    ],
)
def test_an_unknown_key_or_value_in_the_settings(project, old, new, words):
    failed(run(project, *settings(project, (old, new)), "ingest"), "params.yaml", *words)


def test_an_empty_catalogue(project):
    small_table(project, images=0, users=0)
    failed(run(project, *settings(project, *source("table", ".")), "ingest"), "no item has a usable image")
    assert not (project / "data/catalogue").exists()


def test_no_label_left_after_filtering(project):
    small_table(project)
    words = settings(project, *source("table", "."), ("least_items: 20 ", "least_items: 99 "))
    assert run(project, *words, "ingest").returncode == 0
    failed(run(project, *words, "sets"), "sets.least_items", "99")
    assert not (project / "data/sets.parquet").exists()


def test_unknown_names_are_refused_before_anything_is_loaded(project):
    start = time.monotonic()
    failed(run(project, "embed", "lite00"), "unknown backbone 'lite00'", "did you mean lite0")
    failed(run(project, "train", "lite0", "nosy_or"), "unknown head 'nosy_or'", "did you mean noisy_or")
    assert time.monotonic() - start < 10


def test_weights_of_another_shape(project):
    small_table(project)
    words = settings(
        project, *source("table", "."), ("{model: tf_efficientnet_lite0,", "{model: tf_efficientnet_lite2,")
    )
    assert run(project, *words, "ingest").returncode == 0
    failed(run(project, *words, "embed", "lite0"), "do not fit the model")
    assert not list((project / "cache").rglob("*.h5"))


def test_the_hub_out_of_reach(project):
    small_table(project)
    words = settings(project, *source("table", "."))
    assert run(project, *words, "ingest").returncode == 0
    failed(
        run(project, *words, "embed", "mobilenetv1_100", HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=str(project)),
        "hub",
        "set this backbone's weights in params.yaml",
    )


def test_a_stage_without_what_comes_before_it(project):
    failed(run(project, "sets"), "data/catalogue/items.parquet is missing")
    failed(run(project, "embed", "lite0"), "run visagg ingest")
    failed(run(project, "train", "lite0", "average"), "run visagg embed lite0")
    failed(run(project, "evaluate", "lite0", "average"), "run visagg train lite0 average")
    failed(run(project, "report"), "run visagg sets")


def test_ctrl_c_is_one_line_and_leaves_nothing_half_done(project):
    process = subprocess.Popen(
        [*COMMAND, "ingest"],
        cwd=project,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    while not (project / "data/.catalogue.partial").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.strip().splitlines()[-1] == "visagg: stopped; what is finished is kept: run the same command again"
    assert "Traceback" not in errors
    assert not list((project / "data").glob("*catalogue*")) and not list((project / "data").glob(".*"))


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounting a small disk needs root on Linux")
def test_a_full_disk(project):
    small_disk = project / "data"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(small_disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this system does not let a test mount a small disk")
    try:
        failed(run(project, "ingest"), "the disk is full")
        assert not (project / "data/catalogue").exists()
    finally:
        subprocess.run(["umount", str(small_disk)], check=True)


def test_heads_lists_the_published_parameter_counts(project):
    result = run(project, "heads", "--dim", "1024", "--classes", "1000", "--json")
    counts = {row["name"]: row["parameters"] for row in json.loads(result.stdout)}
    published = {
        "average": 1_025_000,
        "attention2_fc": 1_570_024,
        "squeeze_fc": 781_800,
        "squeeze_expand_fc": 1_109_736,
    }
    assert published.items() <= counts.items()
