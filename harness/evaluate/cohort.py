"""Cohorts: students of one architecture that take their training steps together.

Optimiser of the published protocol: SGD with momentum 0.9 and weight decay 5e-4; students alone may
have Lion. Shape letters: M students, B images of a batch, K classes, L blocks with DropPath.
"""

import importlib.util
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.optim.sgd import sgd

from harness.config import KDSettings
from harness.errors import ConfigError
from harness.evaluate.kd import student_loss
from harness.graphs import StaticStep
from harness.networks.droppath import set_paths

_MOMENTUM = 0.9
_WEIGHT_DECAY = 5e-4
_LION_WEIGHT_DECAY = 5e-3


Loss = Callable[[nn.Module, Tensor, Tensor, Tensor | None], Tensor]
"""Called with a student, a batch's images and labels, and what a teacher says of them."""


class Batch(NamedTuple):
    """What the students of a cohort see in one step."""

    images: Tensor
    """[B, C, H, W] where shared, else [M, B, C, H, W]."""
    labels: Tensor
    """Int64 [B] where shared, else [M, B]."""
    teacher_logits: Tensor | None
    """[M, B, K]; each student has a teacher of its own. Or features [M, B, C, H, W] (ELF)."""
    shared: bool
    """Whether all students see the whole set, in its own order."""
    paths: Tensor | None = None
    """[M, L, B] of students with DropPath, see ``harness.networks.droppath.set_paths``."""

    def tensors(self) -> list[Tensor]:
        """Images, labels and, where there are any, the teachers' answers and the paths."""
        every = (self.images, self.labels, self.teacher_logits, self.paths)
        return [tensor for tensor in every if tensor is not None]

    def copy(self) -> "Batch":
        """A batch of the same values in memory of its own."""
        teacher = None if self.teacher_logits is None else self.teacher_logits.clone()
        paths = None if self.paths is None else self.paths.clone()
        return Batch(self.images.clone(), self.labels.clone(), teacher, self.shared, paths)


class Cohort(Protocol):
    """Students that step together."""

    def step(self, batch: Batch, lr: float) -> None:
        """Take one step of SGD."""

    def forget_momentum(self) -> None:
        """Start the momentum again from zero."""


def descend(
    parameters: list[Tensor], gradients: Sequence[Tensor], momenta: Sequence[Tensor], lr: float
) -> None:
    """One step of SGD in place, in one pass over each tensor."""
    with torch.no_grad():
        sgd(
            parameters,
            list(gradients),
            list(momenta),
            fused=True,
            weight_decay=_WEIGHT_DECAY,
            momentum=_MOMENTUM,
            lr=lr,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )


class LionDescent:
    """Lion (arXiv 2302.06675), as the package lion-pytorch has it, with its own betas."""

    def __init__(self, parameters: Sequence[Tensor], momenta: Sequence[Tensor]) -> None:
        """Let the package keep its averages in ``momenta``."""
        from lion_pytorch import Lion

        self._lion = Lion(parameters, weight_decay=_LION_WEIGHT_DECAY)
        for parameter, momentum in zip(parameters, momenta, strict=True):
            self._lion.state[parameter]["exp_avg"] = momentum

    def __call__(
        self,
        parameters: list[Tensor],
        gradients: Sequence[Tensor],
        momenta: Sequence[Tensor],
        lr: float,
    ) -> None:
        """Take a step on the parameters that it was made for."""
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self._lion.param_groups[0]["lr"] = lr
        self._lion.step()
        for parameter in parameters:
            parameter.grad = None


class OneStudent:
    """A single student; on a GPU its steps are replayed as CUDA graphs."""

    def __init__(
        self,
        network: nn.Module,
        kd: KDSettings,
        name: str,
        loss: Loss | None = None,
        optimizer: str = "sgd",
    ) -> None:
        """Prepare to train a network in place; ``name`` is for the log.

        Its loss is by default cross-entropy, and what knowledge distillation adds.
        """
        network.train()
        self._name = name
        self._network = network
        self._kd = kd
        self._loss = self._plain_loss if loss is None else loss
        self._parameters: list[Tensor] = list(network.parameters())
        self._momenta = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._by_lion = None
        if optimizer == "lion":
            self._by_lion = LionDescent(self._parameters, self._momenta)
        self._steps: dict[tuple[int, float], tuple[Batch, StaticStep]] = {}

    def step(self, batch: Batch, lr: float) -> None:
        """Take one step of SGD."""
        key = (batch.labels.numel(), lr)
        if key not in self._steps:
            self._steps[key] = self._static_step(batch, lr)
        static, step = self._steps[key]
        if not batch.shared:
            for place, values in zip(static.tensors(), batch.tensors(), strict=True):
                place.copy_(values)
        step()

    def forget_momentum(self) -> None:
        """Start the momentum again from zero."""
        torch._foreach_zero_(self._momenta)

    def _descend(self, batch: Batch, lr: float) -> Tensor:
        images, labels = batch.images, batch.labels
        if not batch.shared:
            images, labels = images[0], labels[0]
        teacher = None if batch.teacher_logits is None else batch.teacher_logits[0]
        set_paths(self._network, None if batch.paths is None else batch.paths[0])
        loss = self._loss(self._network, images, labels, teacher)
        gradients = torch.autograd.grad(loss, self._parameters)
        (self._by_lion or descend)(self._parameters, gradients, self._momenta, lr)
        return loss.detach()

    def _plain_loss(
        self, network: nn.Module, images: Tensor, labels: Tensor, teacher: Tensor | None
    ) -> Tensor:
        return student_loss(self._kd, network(images), labels, teacher)

    def _static_step(self, batch: Batch, lr: float) -> tuple[Batch, StaticStep]:
        """A step that reads its batch where this one lies: the set itself, or a copy of a part."""
        static = batch if batch.shared else batch.copy()
        written = [*self._parameters, *self._network.buffers(), *self._momenta]
        step = StaticStep(
            f"{self._name}: training",
            lambda: self._descend(static, lr),
            written=written,
            device=batch.images.device,
        )
        return static, step


class Vmapped:
    """Several students whose steps are batched over students: fewer, larger operations."""

    def __init__(self, networks: Sequence[nn.Module], kd: KDSettings) -> None:
        """Stack the weights of networks of one architecture, without batch norm."""
        self._networks = networks
        self._template = networks[0].train()
        stacked, buffers = stack_module_state(list(networks))
        assert not buffers, "running statistics cannot be batched over students"
        self._names = list(stacked)
        self._parameters = [parameter.detach() for parameter in stacked.values()]
        self._momenta = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._gradients = grad(self._loss)
        self._kd = kd

    def step(self, batch: Batch, lr: float) -> None:
        """Take one step of SGD."""
        own = None if batch.shared else 0
        targets = None if batch.teacher_logits is None else 0
        gradients = vmap(self._gradients, in_dims=(0, own, own, targets))(
            dict(zip(self._names, self._parameters, strict=True)), *batch[:3]
        )
        descend(self._parameters, list(gradients.values()), self._momenta, lr)

    def forget_momentum(self) -> None:
        """Start the momentum again from zero."""
        torch._foreach_zero_(self._momenta)

    def write_back(self) -> None:
        """Give each network its weights."""
        with torch.no_grad():
            for k, network in enumerate(self._networks):
                for parameter, stacked in zip(network.parameters(), self._parameters, strict=True):
                    parameter.copy_(stacked[k])

    def _loss(
        self, parameters: dict[str, Tensor], images: Tensor, labels: Tensor, teacher: Tensor | None
    ) -> Tensor:
        logits = functional_call(self._template, parameters, (images,))
        return student_loss(self._kd, logits, labels, teacher)


def check_lion() -> None:
    """Check that the package of the optimiser Lion is installed.

    Raises:
        ConfigError: It is not.
    """
    if importlib.util.find_spec("lion_pytorch") is None:
        raise ConfigError(
            "evaluation.optimizer: got 'lion', which the package lion-pytorch has; install it "
            "(pip install 'harness[lion]'), or use 'sgd'"
        )
