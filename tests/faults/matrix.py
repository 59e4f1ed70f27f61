"""The matrix of faults: each breaks a search, and says what must hold before it is resumed."""

from tests.faults import files, on_ray, processes
from tests.faults.registry import FAULTS, Fault

__all__ = ["FAULTS", "Fault", "files", "on_ray", "processes"]
