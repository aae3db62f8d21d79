"""Faults that Python would print and forget, for they fall into destructors."""

import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from pipeline.core import failure, files
from tests.support.settings import ROOT


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
    monkeypatch.setattr(failure, "SOON", 1)
    sys.unraisablehook(SimpleNamespace(object=None, exc_value=KeyboardInterrupt()))
    assert not heeded.is_set(), "within the hook it would be lost again"
    assert heeded.wait(30)


def test_what_a_destructor_of_hdf5_raises_is_printed_by_no_hook(monkeypatch, capsys):
    """Cython prints it as if nobody had caught it, before Python hears of it."""
    for hook in ("unraisablehook", "excepthook"):
        monkeypatch.setattr(sys, hook, getattr(sys, hook))
    failure.heed_destructors()
    for name in ("h5py/_objects.pyx", "visagg.py"):
        try:
            exec(compile("1 / 0", name, "exec"))
        except ZeroDivisionError as error:
            own = error.__traceback__.tb_next
            sys.excepthook(ZeroDivisionError, error, own)
    said = capsys.readouterr().err
    assert said.count("Traceback") == 1
    assert "visagg.py" in said


def test_what_a_fault_held_goes_before_python_ends():
    """Else HDF5's objects go when nothing listens any more, and print beside the line that says what is wrong."""
    code = (
        "import sys\n"
        "from pipeline.cli import main\n"
        "class Held:\n"
        "    def __del__(self):\n"
        "        print('gone while', 'hooked' if sys.unraisablehook is not sys.__unraisablehook__ else 'deaf')\n"
        "def fail(**options):\n"
        "    held = [Held()]; held.append(held)\n"
        "    raise OSError('it broke')\n"
        "main.cli = fail\n"
        "main.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr, done.stdout) == (1, "visagg: it broke\n", "gone while hooked\n")
