from tests.tools.race import Processes, race


def test_of_several_jobs_that_need_the_same_data_none_fails():
    processes = Processes(2)
    faults = race(["downloads", "buckets"], 2, processes)
    processes.end()
    assert faults == []
