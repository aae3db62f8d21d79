"""Faults that Python would print and forget, for they fall into destructors."""

import sys
import threading
from types import SimpleNamespace

import pytest

from pipeline.core import failure, files


def muttering(path):
    """Writes a file, and something fails to be written as it goes."""
    with files.write_aside(path) as aside:
        aside.write_text("half")
        sys.unraisablehook(SimpleNamespace(object="h5py._objects.ObjectID", exc_value=RuntimeError("(errno = 28)")))


def test_what_a_destructor_could_only_print_is_not_forgotten(tmp_path):
    """HDF5 writes when its objects go: what it cannot write then is an error of the write."""
    with pytest.raises(OSError, match="No space left on device"):
        muttering(tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_a_ctrl_c_that_falls_into_a_destructor_is_heeded(monkeypatch):
    heeded = threading.Event()  # a process in the background ignores the signal itself
    monkeypatch.setattr(failure._thread, "interrupt_main", heeded.set)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    failure.heed_destructors()
    sys.unraisablehook(SimpleNamespace(object=None, exc_value=KeyboardInterrupt()))
    assert heeded.wait(30)
