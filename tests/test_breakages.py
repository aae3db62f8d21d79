"""The list of deliberate breakages is up to date: each can be applied, and the tests that must see it exist."""

import pytest

from tests.breakages import BREAKAGES, broken
from tests.support.settings import ROOT


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda breakage: breakage.name)
def test_each_breakage_can_be_applied(breakage):
    text = (ROOT / breakage.file).read_text(encoding="utf-8")
    assert broken(text, breakage) != text
    assert all((ROOT / "tests" / test).is_file() for test in breakage.tests)
