"""Architecture: the description of a network, free of torch so that a config can be checked fast.

``harness.networks`` builds what is described here. A label such as ``convnet-w32-d4-sigmoid``
writes an architecture in one word: only what differs from the paper's main model is named.
"""

import re
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.errors import ConfigError, suggest

Activation = Literal["relu", "sigmoid", "leakyrelu", "swish"]
Norm = Literal["instancenorm", "batchnorm", "layernorm", "groupnorm", "none"]
Pooling = Literal["avgpooling", "maxpooling", "none"]

ACTIVATIONS: tuple[Activation, ...] = ("relu", "sigmoid", "leakyrelu", "swish")
NORMS: tuple[Norm, ...] = ("instancenorm", "batchnorm", "layernorm", "groupnorm", "none")
POOLINGS: tuple[Pooling, ...] = ("avgpooling", "maxpooling", "none")

NETWORK_NAMES = (
    "convnet",
    "mlp",
    "lenet",
    "alexnet",
    "alexnet-bn",
    "vgg11",
    "vgg11-bn",
    "resnet18",
    "resnet18-bn",
    "resnet18-ap",
    "resnet18-bn-ap",
    "resnet10-ap",
    "alexnet-droppath",
    "vgg11-droppath",
    "resnet18-droppath",
)

WITH_PATHS = ("alexnet-droppath", "vgg11-droppath", "resnet18-droppath")
"""Networks that have blocks which images may pass by while a student learns."""

# Words of a label that say "none", which alone would not tell which part is left out.
_NO_NORM, _NO_POOLING = "nonorm", "nopooling"


class Architecture(BaseModel):
    """A network's name and, for the ConvNet family, its five properties.

    The defaults are the main model of arXiv 2402.13007, Table 2.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )

    name: str = "convnet"
    """Family of the network."""
    width: int = Field(default=128, ge=1, le=4096)
    """Channels of each ConvNet layer."""
    depth: int = Field(default=3, ge=1, le=64)
    """Convolutions of a ConvNet."""
    activation: Activation = "relu"
    """Activation of a ConvNet."""
    norm: Norm = "instancenorm"
    """Normalisation of a ConvNet."""
    pooling: Pooling = "avgpooling"
    """Pooling of a ConvNet."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.name not in NETWORK_NAMES:
            raise ValueError(
                f"network.name: got '{self.name}'; {suggest(self.name, NETWORK_NAMES)}"
            )
        if self.name == "convnet":
            return self
        for field in ("width", "depth", "activation", "norm", "pooling"):
            if getattr(self, field) != type(self).model_fields[field].default:
                raise ValueError(
                    f"network.{field}: got {getattr(self, field)!r}, but only 'convnet' has a "
                    f"{field}; remove it or use network.name = 'convnet'"
                )
        return self

    @property
    def label(self) -> str:
        """One word that ``parse`` reads back, for example ``"convnet-w32-maxpooling"``."""
        words = [self.name]
        if self.width != 128:
            words.append(f"w{self.width}")
        if self.depth != 3:
            words.append(f"d{self.depth}")
        if self.activation != "relu":
            words.append(self.activation)
        if self.norm != "instancenorm":
            words.append(_NO_NORM if self.norm == "none" else self.norm)
        if self.pooling != "avgpooling":
            words.append(_NO_POOLING if self.pooling == "none" else self.pooling)
        return "-".join(words)

    @classmethod
    def parse(cls, label: str) -> "Architecture":
        """Read a label.

        Args:
            label: A network name, or ``convnet`` followed by any of ``w<width>``, ``d<depth>``,
                an activation, a norm (or ``nonorm``), a pooling (or ``nopooling``).

        Raises:
            ConfigError: A part of the label is not known.
        """
        if label in NETWORK_NAMES:
            return cls(name=label)
        family, *words = label.split("-")
        if family != "convnet":
            raise ConfigError(f"network '{label}': {suggest(label, NETWORK_NAMES)}")
        fields: dict[str, object] = {}
        for word in words:
            field, value = _read_word(word, label)
            if field in fields:
                raise ConfigError(f"network '{label}': {field} is given twice; keep one of them")
            fields[field] = value
        try:
            return cls.model_validate(fields)
        except ValueError as error:
            raise ConfigError(
                f"network '{label}': width must be 1 to 4096 and depth 1 to 64"
            ) from error


def _read_word(word: str, label: str) -> tuple[str, object]:
    """Return the field that one word of a label sets, and its value."""
    if match := re.fullmatch(r"([wd])([0-9]{1,5})", word):
        return ("width" if match[1] == "w" else "depth"), int(match[2])
    if word in ACTIVATIONS:
        return "activation", word
    if word == _NO_NORM or word in NORMS[:-1]:
        return "norm", "none" if word == _NO_NORM else word
    if word == _NO_POOLING or word in POOLINGS[:-1]:
        return "pooling", "none" if word == _NO_POOLING else word
    known = ["w<width>", "d<depth>", *ACTIVATIONS, *NORMS[:-1], _NO_NORM]
    known += [*POOLINGS[:-1], _NO_POOLING]
    raise ConfigError(f"network '{label}': unknown part '{word}'; {suggest(word, known)}")
