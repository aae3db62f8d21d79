"""Weights from anybody: whatever a file holds, it is loaded, or refused in one line, and nothing in it is run."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from pipeline.core.errors import WeightsError
from pipeline.embed.backbones import weights

QUIET = {"database": None, "derandomize": True, "deadline": None, "suppress_health_check": list(HealthCheck)}
EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 40), st.binary(max_size=12) | st.just(b"\xff" * 9)),
    min_size=1,
    max_size=4,
)
CUTS = st.just(1.0) | st.floats(0, 1)


class Net(nn.Sequential):
    """A model with floats and a count, as timm's are."""

    pretrained_cfg: dict = {}  # noqa: RUF012


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net(nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4))


def judged(path, net):
    try:
        weights.fill(net, weights.read(path), path.name, by_order=False)
    except WeightsError as refused:
        line = str(refused)
    else:
        line = "loaded" if all(tensor.isfinite().all() for tensor in net.state_dict().values()) else "\n"
    assert line.isprintable() and len(line) < 700


def in_file(net, path, whole):
    """A case: a file changed and cut."""

    def case(edits, cut):
        data = whole
        for share, length, piece in edits:
            at = int(share * len(data))
            data = data[:at] + piece + data[at + length :]
        path.write_bytes(data[: int(cut * len(data))])
        judged(path, net)

    return case


def fuzz(folder, net, cases):
    save_file(net.state_dict(), folder / "whole.safetensors")
    torch.save(net.state_dict(), folder / "whole.pth")
    for suffix in (".safetensors", ".pth"):
        whole, path = (folder / f"whole{suffix}").read_bytes(), folder / f"w{suffix}"
        settings(max_examples=cases, **QUIET)(given(edits=EDITS, cut=CUTS)(in_file(net, path, whole)))()


def test_a_changed_file_is_loaded_or_refused(tmp_path, net):
    fuzz(tmp_path, net, 30)


@pytest.mark.long
def test_many_changed_files_are_loaded_or_refused(tmp_path, net):
    fuzz(tmp_path, net, 300)


@pytest.mark.parametrize(
    "content",
    [
        lambda s: {1: torch.zeros(1)},
        lambda s: {**s, 7: torch.zeros(1)},
        lambda s: [1, 2],
        lambda s: {"state_dict": 5},
        lambda s: {"state_dict": {"state_dict": s}},
        lambda s: {**s, "0.bias": torch.zeros(4, device="meta")},
        lambda s: {**s, "0.bias": torch.zeros(4).to_sparse()},
        lambda s: {**s, "0.bias": torch.quantize_per_tensor(torch.zeros(4), 0.1, 0, torch.quint8)},
        lambda s: {**s, "0.bias": torch.full((4,), float("nan"))},
        lambda s: {**s, "0.bias": torch.full((4,), 1e300, dtype=torch.float64)},
        lambda s: {**s, "0.bias": torch.zeros(4, dtype=torch.complex64)},
        lambda s: {**s, "0.bias": torch.zeros(4, dtype=torch.int64)},
        lambda s: {**s, "1.num_batches_tracked": torch.tensor(0.5)},
        lambda s: {**s, "0.bias": torch.zeros(1).expand(1 << 40)},
        lambda s: {**s, "a\nb": torch.zeros(1)},
    ],
)
def test_a_file_of_other_things_is_refused(tmp_path, net, content):
    torch.save(content(net.state_dict()), tmp_path / "w.pth")
    with pytest.raises(WeightsError) as refused:
        weights.fill(net, weights.read(tmp_path / "w.pth"), "w.pth", by_order=False)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("data", [b"", b"\0" * 7, (1 << 30).to_bytes(8, "little") + b"{", b"\xff" * 64])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_bytes_of_something_else_are_refused(tmp_path, data, suffix):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(data)
    with pytest.raises(WeightsError):
        weights.read(path)


@pytest.mark.parametrize("name", ["package:", "package:../x", "package:os", "package:antigravity", "a\0b", "x" * 5000])
def test_a_name_of_no_weights_is_refused(name):
    with pytest.raises(WeightsError) as refused:
        weights.find(name)
    assert "\n" not in str(refused.value)
