"""The public names: few, documented, quick to import; what their documentation shows runs."""

import json
import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import pipeline
from tests.support.carried import inside
from tests.support.images import jpeg
from tests.support.settings import ROOT


def test_to_import_the_package_imports_nothing_and_each_name_is_there():
    code = "import sys, pipeline; print(len([name for name in sys.modules if name.startswith('pipeline.')]))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "0\n"
    for name in pipeline.__all__:
        assert getattr(pipeline, name).__doc__
        assert re.search(rf"\b{name}\b", pipeline.__doc__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pipeline.nothing  # noqa: B018


def test_a_fault_that_a_user_can_mend_is_of_one_public_kind(tmp_path):
    for fault in (
        lambda: pipeline.open_store(tmp_path / "none.h5"),
        lambda: pipeline.build_head("avrage", 4, 2),
        lambda: pipeline.load_head(str(tmp_path)),
    ):
        with pytest.raises(pipeline.PipelineError):
            fault()


def test_what_the_package_s_documentation_shows_runs_in_a_project(carried):
    [example] = re.findall(r"a test runs this\):\n\n(.*?)\n\nAnywhere", pipeline.__doc__, re.DOTALL)
    example = textwrap.dedent(example)
    names: dict = {}
    photos = carried.root / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(jpeg(1))
    with inside(carried.root):
        exec(example.replace("noisy_or_dropout", "noisy_or"), names)
    assert names["scores"].shape == (1, len(names["trained"].checkpoint.labels))
    assert np.isfinite(names["scores"].detach().numpy()).all() and names["seen"]["interests"] is not None
    json.dumps(names["seen"])
