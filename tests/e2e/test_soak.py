import pytest

from tests.tools import soak


@pytest.mark.parametrize(
    ("workers", "kills"), [(1, 2), pytest.param(2, 1, marks=pytest.mark.slow)]
)
def test_killed_runs_equal_untouched_ones(tmp_path, workers, kills):
    tally = soak.soak(
        kills=kills,
        replica_counts=[2],
        seed=0,
        folder=tmp_path,
        jobs=1,
        workers=workers,
        patience=20,
    )
    print(soak.report(tally))
    assert sum(tally.kills.values()) == kills
    assert tally.differences == []
