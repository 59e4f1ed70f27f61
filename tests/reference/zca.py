"""ZCA whitening as published, on a table of flattened images, by a singular value decomposition."""

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]


def fit(table: Table, epsilon: float) -> tuple[Table, Table, Table]:
    """Mean [D], transform [D, D] and inverse [D, D] of rows [N, D]."""
    mean = table.mean(0)
    covariance = np.cov(table, rowvar=False)
    u, s, _ = np.linalg.svd(covariance)
    forward = u @ np.diag(1 / np.sqrt(s + epsilon)) @ u.T
    backward = u @ np.diag(np.sqrt(s + epsilon)) @ u.T
    return mean, forward, backward
