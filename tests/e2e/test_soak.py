from tests import soak


def test_killed_runs_equal_untouched_ones(tmp_path):
    tally = soak.soak(
        kills=4, replica_counts=[2], seed=0, folder=tmp_path, jobs=1
    )
    print(soak.report(tally))
    assert sum(tally.kills.values()) == 4
    assert tally.differences == []
