"""The optimiser is torch's AdamW, without the class that imports torch's compiler."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from pipeline.training.optimiser import OneCycleAdamW
from tests.support.settings import ROOT


def test_it_steps_as_adamw_is_defined_at_the_same_rates():
    """Against algorithm 2 of I. Loshchilov and F. Hutter, in float64."""
    generator = np.random.default_rng(0)
    start, decay = generator.normal(size=(4, 3)), 0.1
    parameter, wanted = torch.nn.Parameter(torch.tensor(start)), start.copy()
    optimiser = OneCycleAdamW([parameter], peak=0.05, steps=20, weight_decay=decay)
    mean, square = np.zeros_like(start), np.zeros_like(start)
    for step in range(1, 21):
        gradient, rate = generator.normal(size=start.shape), optimiser.rate()
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        unbiased = mean / (1 - 0.9**step), square / (1 - 0.999**step)
        wanted -= rate * (unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8) + decay * wanted)
        parameter.grad = torch.from_numpy(gradient)
        optimiser.step()
        np.testing.assert_allclose(parameter.detach(), wanted, rtol=1e-6)
    assert np.abs(wanted - start).min() > 0.01


def test_the_rate_rises_to_its_peak_and_falls_to_nothing():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser, rates = OneCycleAdamW([parameter], peak=0.3, steps=100, weight_decay=0.0), []
    for _ in range(100):
        rates.append(optimiser.rate())
        parameter.grad = torch.zeros(1)
        optimiser.step()
    assert rates[0] == pytest.approx(0.3 / 25)
    assert max(rates) == pytest.approx(0.3)
    assert rates.index(max(rates)) == 30
    assert rates[:31] == sorted(rates[:31])
    assert rates[30:] == sorted(rates[30:], reverse=True)
    assert rates[-1] < 1e-3


def test_gradients_are_forgotten_after_a_step_and_needed_before_it():
    parameter = torch.nn.Parameter(torch.ones(1))
    optimiser = OneCycleAdamW([parameter], peak=0.3, steps=2, weight_decay=0.0)
    parameter.sum().backward()
    optimiser.step()
    assert parameter.grad is None
    with pytest.raises(ValueError, match="does not depend on one of the parameters"):
        optimiser.step()


def test_training_does_not_wait_for_torch_s_compiler():
    code = (
        "import sys, torch; from pipeline.training.optimiser import OneCycleAdamW;"
        "p = torch.nn.Parameter(torch.ones(2)); o = OneCycleAdamW([p], peak=0.1, steps=3, weight_decay=0.0);"
        "p.sum().backward(); o.step(); print({'torch._dynamo', 'torch._inductor'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
