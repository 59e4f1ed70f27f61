"""Compiled steps against the same steps as they are. Each compilation takes seconds."""

import shutil

import pytest
import torch
from torch import Tensor

from harness.architecture import Architecture
from harness.config import make_config
from harness.datasets import ImageData
from harness.distill.dc import DC
from harness.distill.learner import training_gradients
from harness.distill.matching import freeze_batch_norms, has_batch_norm, match_gradients
from harness.distill.programs import Compiled, check_compiler
from harness.errors import ConfigError
from harness.networks import Network, build_network
from harness.trial import preflight
from tests.reference import matching as reference

SMALL = Architecture(width=4, depth=1)
needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++"))), reason="no C++ compiler is installed here"
)
EVERY_KIND_OF_LAYER = (
    Architecture(width=4, depth=1, norm="batchnorm", activation="swish", pooling="maxpooling"),
    Architecture(width=4, depth=1, norm="layernorm", activation="sigmoid", pooling="none"),
)


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_network(architecture: Architecture = SMALL) -> Network:
    return build_network(architecture, in_shape=(1, 28, 28), classes=3, generator=rng(0))


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@needs_compiler
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("architecture", [SMALL, *EVERY_KIND_OF_LAYER], ids=lambda a: a.label)
def test_compiled_matching_agrees_with_the_plain_version_as_weights_change(
    architecture: Architecture,
) -> None:
    network = make_network(architecture).double()
    programs = Compiled(network)
    images = torch.randn(6, 1, 28, 28, dtype=torch.float64, generator=rng(1))
    labels = torch.arange(3).repeat_interleave(2)
    real = [torch.randn(3, 1, 28, 28, dtype=torch.float64, generator=rng(2 + c)) for c in range(3)]
    for seed in range(2):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=rng(seed)), alpha=0.1)
        if has_batch_norm(network):
            freeze_batch_norms(network, torch.cat(real) + seed)
        loss, gradient = match_gradients(network, images, labels, real, programs=programs)
        expected_loss, expected = reference.match(network, images, 2, real)
        assert relative(loss, expected_loss) <= 1e-10
        assert relative(gradient, expected) <= 1e-10


@needs_compiler
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_compiled_distillation_stays_close_and_repeats_its_bits(tiny: ImageData) -> None:
    base = {
        "ipc": 1,
        "iterations": 3,
        "batch_real": 5,
        "outer_loop": 2,
        "inner_loop": 2,
        "network": {"width": 4, "depth": 1},
        "pool": {"main_probability": 1.0},
    }

    def distil(compiled: bool) -> Tensor:
        config = make_config({**base, "compile": compiled})
        distiller = DC(config, tiny, torch.device("cpu"))
        for _ in range(3):
            distiller.step()
        return distiller.synthetic().images

    first = distil(True)
    assert torch.equal(first, distil(True))
    assert relative(first, distil(False)) <= 1e-3


@needs_compiler
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_program_is_kept_for_each_shape() -> None:
    network = make_network()
    programs = Compiled(network)
    for batch in (2, 3, 2):
        images = torch.randn(batch, 1, 28, 28, generator=rng(batch))
        labels = torch.arange(batch) % 3
        found = programs(training_gradients, images, labels)
        expected = training_gradients(network, images, labels)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert len(programs._programs) == 2


def test_compile_is_part_of_a_sets_identity() -> None:
    one, other = make_config({}), make_config({"compile": True})
    assert one.identity() != other.identity()


def test_without_a_compiler_nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ConfigError, match=r"compile: got true, .*'g\+\+'.*set compile = false"):
        preflight([make_config({"compile": True})])
    preflight([make_config({})])


def test_a_compiler_that_is_named_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match="'no-such-compiler' is not found"):
        check_compiler()
