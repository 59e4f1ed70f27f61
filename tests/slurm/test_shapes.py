"""All three shapes finish a search over two nodes, with the rows of a local run."""

import pandas as pd
import pytest

from tests.slurm.conftest import Search

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]


@pytest.mark.parametrize("shape", ["array", "cluster", "elastic"])
def test_a_shape_gives_the_rows_of_a_local_run(
    shape: str, search: Search, expected: pd.DataFrame
) -> None:
    search.started("--shape", shape, "--nodes", 2).wait_for_end()
    pd.testing.assert_frame_equal(search.rows(), expected, check_exact=True)
    told = search.place.told()
    assert {said.state for said in told.values()} == {"ended"}, told
    # Two tasks, a head's node and another one, or a head and two workers.
    assert len(told) == {"array": 2, "cluster": 2, "elastic": 3}[shape]
    assert {said.host for said in told.values()} == {"n1", "n2"}
    assert list(search.out.glob("ray")) == []
