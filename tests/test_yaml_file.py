"""YAML that would become too much is refused before anything is built of it."""

import os

import pytest

from tests.test_settings import refusal

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
)
MERGES = "a0: &a0 {k: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 9))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (BOMB, "more than 100,000 values"),
        (MERGES, "more than 100,000 values"),
        ("- a\n" * 110_000, "more than 100,000 values"),
        ("# " + "x" * (1 << 20), "more than 1,048,576 bytes"),
        ("a: &a [*a]", "the alias a has no value yet"),
        ("[" * 1_000_000, "nested more than 50 deep"),
        ("- " * 400_000, "nested more than 50 deep"),
        ("a: " + "9" * 5000, "more than 3,000 characters"),
        ("a: 0x" + "f" * 2990, "unknown key a"),
    ],
    ids=["aliases", "merges", "values", "bytes", "itself", "deep", "deep list", "digits", "hexadecimal"],
)
def test_a_file_that_would_become_too_much_is_refused_before_it_does(tmp_path, content, said):
    (tmp_path / "params.yaml").write_text(content)
    line = refusal(tmp_path / "params.yaml")
    assert said in line and len(line) < 500


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "params.yaml")
    assert "is not a regular file" in refusal(tmp_path / "params.yaml")
