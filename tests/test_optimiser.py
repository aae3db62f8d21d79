"""The optimiser is torch's AdamW, without the class that imports torch's compiler."""

import subprocess
import sys

import pytest
import torch

from pipeline.optimiser import OneCycleAdamW


def test_it_steps_as_torch_s_adamw_does_at_the_same_rates():
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Linear(5, 3) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    one = OneCycleAdamW(ours.parameters(), 0.05, 20, weight_decay=0.1)
    other = torch.optim.AdamW(theirs.parameters(), 1.0, weight_decay=0.1)
    for _ in range(20):
        x = torch.randn(8, 5)
        other.param_groups[0]["lr"] = one.rate()
        for model, optimiser in ((ours, one), (theirs, other)):
            model(x).square().mean().backward()
            optimiser.step()
        other.zero_grad()
    assert torch.allclose(ours.weight, theirs.weight, atol=1e-6)


def test_the_rate_rises_to_its_peak_and_falls_to_nothing():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser, rates = OneCycleAdamW([parameter], 0.3, 100, 0.0), []
    for _ in range(100):
        rates.append(optimiser.rate())
        parameter.grad = torch.zeros(1)
        optimiser.step()
    assert rates[0] == pytest.approx(0.3 / 25) and max(rates) == pytest.approx(0.3) and rates.index(max(rates)) == 30
    assert rates[:31] == sorted(rates[:31]) and rates[30:] == sorted(rates[30:], reverse=True) and rates[-1] < 1e-3


def test_training_does_not_wait_for_torch_s_compiler():
    code = (
        "import sys, torch; from pipeline.optimiser import OneCycleAdamW; p = torch.nn.Parameter(torch.ones(2));"
        "o = OneCycleAdamW([p], 0.1, 3, 0.0); p.sum().backward(); o.step(); print('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
