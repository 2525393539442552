"""A sample of `tests.tools.fuzz_job_dir`, which runs thousands."""

import random

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.tools.fuzz_job_dir import Fuzzer


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory):
    fuzzer = Fuzzer(tmp_path_factory.mktemp("fuzz"))
    yield fuzzer
    assert fuzzer.untouched()


@hypothesis.settings(max_examples=25, deadline=None, derandomize=True)
@hypothesis.given(number=st.integers(0, 10**6))
def test_whatever_lies_in_a_job_directory_ends_in_a_sentence(fuzzer, number):
    result = fuzzer.run(random.Random(number))
    assert result.faults == [], result
