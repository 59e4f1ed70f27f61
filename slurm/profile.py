"""Profiles: what a site's SLURM wants to be told, in a TOML file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.errors import ConfigError, suggest
from harness.overrides import read_toml
from harness.search.packing import MOST

Shape = Literal["cluster", "elastic", "array"]
SHAPES: tuple[Shape, ...] = ("cluster", "elastic", "array")


class Profile(BaseModel):
    """A site, and how much of it a launch takes; see ``profiles/example.toml``."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    shape: Shape = "cluster"
    """What a launch is made of, where ``--shape`` does not say."""
    nodes: int = Field(default=1, ge=1)
    """Nodes that run trials, at most."""
    cpus_per_node: int = Field(default=0, ge=0)
    """Cores of each; 0: those of one trial, or of one trial a GPU."""
    gpus_per_node: int = Field(default=0, ge=0)
    """GPUs of each."""
    trials_per_gpu: Annotated[int, Field(ge=1, le=MOST)] | Literal["auto"] = 1
    """Trials that share a GPU; ``auto``: as many as the first trial's measured needs allow."""
    mem_gb: float | None = Field(default=None, gt=0)
    """Memory of each in GiB; unset: the site's default."""
    time_min: int = Field(default=60, ge=1)
    """Time limit of a job in minutes; the search goes on in the next one."""
    signal_s: int = Field(default=120, ge=10)
    """Seconds before the limit at which a job saves its state and is requeued."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    gres: str | None = None
    """In place of the request for GPUs that follows from ``gpus_per_node``."""
    extra: dict[str, str | int | bool] = Field(default_factory=dict)
    """Other options of sbatch."""

    setup: list[str] = Field(default_factory=list)
    """Shell lines before the job's command."""
    container: str | None = None
    """Command that the job's Python is run by."""
    python: str | None = None
    """Python of the jobs; unset: the one that launches."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Environment variables of the jobs."""

    head_cpus: int = Field(default=2, ge=1)
    """Cores of an elastic launch's head job."""
    head_partition: str | None = None
    """Its partition: one without preemption, where there is one; unset: ``partition``."""
    port: int = Field(default=0, ge=0, le=65535)
    """Port of Ray's head; 0: a free one."""
    max_array: int | None = Field(default=None, ge=1)
    """Tasks of one job array at most; unset: what SLURM's MaxArraySize says."""

    @model_validator(mode="after")
    def _check_time(self) -> Self:
        if self.signal_s >= self.time_min * 60:
            raise ValueError(
                f"signal_s: got {self.signal_s}, expected less than the time limit of "
                f"{self.time_min} minutes; lower signal_s or raise time_min"
            )
        return self


def read_profile(path: Path | None, options: Mapping[str, Any]) -> Profile:
    """Read a site's profile; options of the command line win.

    Args:
        path: A TOML file; None: an empty profile.
        options: Key of the profile -> value; None is not given.

    Raises:
        ConfigError: The file is not there or not TOML, or something in it is wrong.
    """
    data: dict[str, Any] = {}
    where = "launch"
    if path is not None:
        where = f"--profile: {path}"
        data = read_toml(path, "--profile")
    for key in data:
        if key not in Profile.model_fields:
            raise ConfigError(f"{where}: unknown key '{key}'; {suggest(key, Profile.model_fields)}")
    data |= {key: value for key, value in options.items() if value is not None}
    try:
        return Profile.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    """The first problem, in one line."""
    problem = error.errors()[0]
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    key = ".".join(str(part) for part in problem["loc"])
    return f"{key}: got {problem['input']!r}; {problem['msg'][0].lower()}{problem['msg'][1:]}"
