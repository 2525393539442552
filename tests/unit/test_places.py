import pathlib

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.tools.small_jobs import small_job
from trainer import places
from trainer.errors import ConfigError
from trainer.job_dir.open import open_to_read
from trainer.runtime.console import Console


@pytest.mark.parametrize(
    ("text", "bucket", "path"),
    [
        ("gs://bucket", "bucket", ""),
        ("gs://bucket/", "bucket", ""),
        ("gs://bucket/runs/vae", "bucket", "runs/vae"),
        ("gs://bucket/runs/vae/", "bucket", "runs/vae"),
        ("gs://my.bucket_1-x/ü [1] #/*", "my.bucket_1-x", "ü [1] #/*"),
        ("runs/vae", "", "runs/vae"),
        ("/tmp/a b", "", "/tmp/a b"),
        ("../shared", "", "../shared"),
        ("./~", "", "./~"),
        ("./s3://x", "", "./s3://x"),
        ("run:1", "", "run:1"),
        (pathlib.Path("a") / "b", "", "a/b"),
    ],
)
def test_a_place_is_a_folder_here_or_in_a_bucket(text, bucket, path):
    place = places.parse(text)
    assert place == places.Place(bucket, path)
    assert place.in_bucket is bool(bucket)
    assert str(place) == str(text).removesuffix("/")


REFUSED = {
    "a/" * 501: "folders within each other; the most is 500",
    "": "is empty",
    "s3://bucket/a": "the scheme s3:, which is not known here",
    "file:///tmp/a": "the scheme file:",
    "hdfs:/a": "the scheme hdfs:",
    "GS://bucket/a": "in small letters and with two slashes",
    "Gs:/bucket/a": "in small letters and with two slashes",
    "gs:/typo": "in small letters and with two slashes",
    "gs:typo": "in small letters and with two slashes",
    "gs://": "names no bucket",
    "gs:///a": "names no bucket",
    "gs://UPPER/a": "cannot be the name of a bucket",
    "gs://a b/c": "cannot be the name of a bucket",
    "gs://../a": "cannot be the name of a bucket",
    "gs://bucket//a": "has a segment ''",
    "gs://bucket/a//b": "has a segment ''",
    "gs://bucket/a//": "has a segment ''",
    "gs://bucket/./a": "has a segment '.'",
    "gs://bucket/a/..": "has a segment '..'",
    "gs://bucket/../../../..": "has a segment '..'",
    "~": "the shell has left as it is",
    "~/runs": "the shell has left as it is",
    "~root/runs": "the shell has left as it is",
    "a\0b": r"has the character '\x00'",
    "a\nb": r"has the character '\n'",
    "gs://bucket/a\r\nb": r"has the character '\r'",
    "a\udcffb": r"has the character '\udcff'",
    "runs/" + "n" * 256: "has a name of 256 bytes",
    "runs/" + "ü" * 128: "has a name of 256 bytes",
    "gs://bucket/" + "n" * 256: "has a name of 256 bytes",
    "n/" * 2050: "has 4100 bytes, of which 4096 can be held",
    "gs://bucket/" + "n/" * 500: "of which 824 can be held",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_place_is_refused_before_anything_is_made(
    text, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(ConfigError, match="--output") as error:
        places.parse(text, "--output")
    message = str(error.value)
    assert REFUSED[text] in message
    assert "\n" not in message
    assert message.isprintable()
    assert len(message) < 400
    with pytest.raises(ConfigError, match="--job_dir"):
        small_job(job_dir=text)
    with (
        pytest.raises(ConfigError, match="--job_dir"),
        open_to_read(text, Console()),
    ):
        pass
    if text:  # No --data_dir is a choice.
        with pytest.raises(ConfigError, match="--data_dir"):
            small_job(dataset="idx", data_dir=text)
    assert list(tmp_path.iterdir()) == []


def test_what_must_be_here_is_not_in_a_bucket():
    assert places.parse_local("a/b", "--output") == pathlib.Path("a/b")
    for text in ("gs://bucket/a", "s3://bucket/a", "~/a"):
        with pytest.raises(ConfigError, match="--output="):
            places.parse_local(text, "--output")


SEGMENT = st.text(min_size=1, max_size=300)


@hypothesis.given(st.lists(st.sampled_from("./~\0gs: aé") | SEGMENT))
def test_any_text_is_a_place_inside_of_its_bucket_or_is_refused(pieces):
    for text in ("".join(pieces), f"gs://bucket/{'/'.join(pieces)}"):
        try:
            place = places.parse(text)
        except ConfigError:
            continue
        if place.in_bucket:
            segments = place.path.split("/") if place.path else []
            assert not {"", ".", ".."} & set(segments)
        assert "/" not in place.cache_name
        assert len(place.cache_name.encode()) < 255
        assert place.cache_name[0] != "."


def test_no_two_places_share_a_name_in_the_cache():
    names = [
        places.parse(text).cache_name
        for text in (
            "gs://bucket/runs",
            "gs://bucket/runs/a",
            "gs://bucket/runs-a",
            "gs://bucket/runs a",
            "gs://bucket-runs/a",
            "gs://bucket/" + "n" * 200,
            "gs://bucket/" + "n" * 201,
        )
    ]
    assert len(set(names)) == len(names)
    assert names[1].startswith("bucket-runs-a-")
    assert places.parse("gs://bucket/a/").cache_name == (
        places.parse("gs://bucket/a").cache_name
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("runs/a", ("runs/a", "last")),
        ("runs/a@last", ("runs/a", "last")),
        ("gs://bucket/a@best", ("gs://bucket/a", "best")),
        ("runs/me@home/a@120", ("runs/me@home/a", "120")),
        ("runs/me@home/a", ("runs/me@home/a", "last")),
        ("me@home@last", ("me@home", "last")),
    ],
)
def test_a_checkpoint_is_named_after_an_at(text, expected):
    assert places.split_checkpoint(text, "--init_from") == expected


@pytest.mark.parametrize(
    "text", ["runs/a@", "runs/a@-1", "runs/a@newest", "@last", "s3://b/a@last"]
)
def test_what_is_no_checkpoint_is_refused(text):
    with pytest.raises(ConfigError, match="--init_from"):
        places.split_checkpoint(text, "--init_from")
