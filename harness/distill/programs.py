"""Functions of a network and tensors, run as they are or compiled (``compile = true``)."""

import logging
import os
import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from harness.errors import ConfigError

Function = Callable[..., tuple[Tensor, ...]]
"""Called as (network, tensors..., settings by name); returns tensors, and changes none."""


class Eager:
    """Runs functions of one network as they are."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def __call__(self, function: Function, *tensors: Tensor, **settings: Any) -> tuple[Tensor, ...]:
        """Return ``function(network, *tensors, **settings)``."""
        return function(self.network, *tensors, **settings)


class Compiled(Eager):
    """Compiles a function for each shape of its tensors, when it first meets it.

    The function is traced into plain tensor operations first, gradients of gradients included,
    which torch.compile alone does not differentiate twice. The network's weights are inputs of the
    traced program: they may be overwritten between two calls.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self._programs: dict[Any, Callable[..., tuple[Tensor, ...]]] = {}

    def __call__(self, function: Function, *tensors: Tensor, **settings: Any) -> tuple[Tensor, ...]:
        """Return what the function returns, but for rounding."""
        shapes = tuple((tensor.shape, tensor.dtype) for tensor in tensors)
        key = (function, shapes, tuple(sorted(settings.items())))
        state = [tensor.detach() for tensor in self._state().values()]
        if key not in self._programs:
            self._programs[key] = self._compile(function, tensors, settings)
        with torch.no_grad():
            return self._programs[key](state, *tensors)

    def _state(self) -> dict[str, Tensor]:
        return {**dict(self.network.named_parameters()), **dict(self.network.named_buffers())}

    def _compile(
        self, function: Function, tensors: tuple[Tensor, ...], settings: dict[str, Any]
    ) -> Callable[..., tuple[Tensor, ...]]:
        from torch.fx.experimental.proxy_tensor import make_fx  # imports the compiler: a second

        # It says at each start that a CPU has no CUDA.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        bound = _Bound(self.network, function, settings)
        learned = dict(self.network.named_parameters())

        def program(state: list[Tensor], *inputs: Tensor) -> tuple[Tensor, ...]:
            leaves = {
                f"network.{name}": tensor.detach().requires_grad_(name in learned)
                for name, tensor in zip(self._state(), state, strict=True)
            }
            outputs: tuple[Tensor, ...] = functional_call(bound, leaves, inputs)
            return outputs

        state = [tensor.detach() for tensor in self._state().values()]
        traced = make_fx(program)(state, *tensors)
        compiled: Callable[..., tuple[Tensor, ...]] = torch.compile(
            traced, dynamic=False, fullgraph=True
        )
        return compiled


class _Bound(nn.Module):
    """A function with its network as a submodule, whose weights ``functional_call`` exchanges."""

    def __init__(self, network: nn.Module, function: Function, settings: dict[str, Any]) -> None:
        super().__init__()
        self.network = network
        self._function = function
        self._settings = settings

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return self._function(self.network, *tensors, **self._settings)


def check_compiler() -> None:
    """Check that the C++ compiler which torch.compile calls is there.

    Raises:
        ConfigError: It is not.
    """
    asked = os.environ.get("CXX")
    if not any(map(shutil.which, [asked] if asked else ["g++", "clang++"])):
        raise ConfigError(
            f"compile: got true, but there is no C++ compiler ('{asked or 'g++'}' is not found); "
            "install one, or set compile = false"
        )
