import pytest

from tests.tools import soak


@pytest.mark.parametrize(
    "workers", [1, pytest.param(2, marks=pytest.mark.slow)]
)
def test_killed_runs_equal_untouched_ones(tmp_path, workers):
    tally = soak.soak(
        kills=2,
        replica_counts=[2],
        seed=0,
        folder=tmp_path,
        jobs=1,
        workers=workers,
        patience=20,
    )
    print(soak.report(tally))
    assert sum(tally.kills.values()) == 2
    assert tally.differences == []
