"""A bucket, and a machine that has staged nothing."""

import pytest

from trainer.job_dir.bucket import claim as claim_lib
from trainer.job_dir.bucket.object_store import ObjectStore


@pytest.fixture
def server(bucket, tmp_path, monkeypatch):
    """A bucket, and a cache folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return bucket


@pytest.fixture
def store(server):
    """The objects of a job in that bucket."""
    del server
    return ObjectStore("gs://bucket/job", 3.0)


@pytest.fixture
def quick_claims(monkeypatch):
    """Claims that are renewed, and looked at again, after a moment."""
    monkeypatch.setattr(claim_lib, "RENEW_SECONDS", 0.2)
    monkeypatch.setattr(claim_lib, "_POLL_SECONDS", 0.05)
