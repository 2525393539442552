import pytest

from tests.tools import soak


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_runs_equal_untouched_ones(tmp_path, workers):
    tally = soak.soak(
        kills=2,
        replica_counts=[2],
        seed=0,
        folder=tmp_path,
        jobs=1,
        workers=workers,
    )
    print(soak.report(tally))
    assert sum(tally.kills.values()) == 2
    assert tally.differences == []
