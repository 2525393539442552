"""What is said of data that differs from a record."""

from trainer.job_dir import other_data

BEGAN = {
    "name": "idx",
    "train_examples": 60,
    "md5": {"a": "0" * 32, "b": "1" * 32},
}


def test_each_file_that_differs_is_named_with_both_checksums():
    found = {**BEGAN, "md5": {"a": "0" * 32, "b": "2" * 32, "c": "3" * 32}}
    assert other_data.phrases(BEGAN, found) == [
        "MD5 of b 222222222222... (was 111111111111...)",
        "MD5 of c 333333333333... (was missing)",
    ]
    assert other_data.phrases(BEGAN, BEGAN) == []


def test_what_the_data_is_comes_before_its_files():
    found = {"name": "prepared", "train_examples": 59, "md5": {}}
    found["sha256"] = {"dataset.json": "4" * 64}
    assert other_data.phrases(BEGAN, found, "the chief has") == [
        "data prepared (the chief has idx)",
        "train_examples 59 (the chief has 60)",
        "MD5 of a missing (the chief has 000000000000...)",
        "MD5 of b missing (the chief has 111111111111...)",
    ]


def test_a_split_that_was_not_recorded_is_no_difference():
    found = {**BEGAN, "sha256": {"dataset.json": "5" * 64, "test/": "6" * 64}}
    began = {**BEGAN, "sha256": {"dataset.json": "5" * 64}}
    assert other_data.phrases(began, found) == []
    assert other_data.phrases(found, began) == [
        "SHA-256 of test/ missing (was 666666666666...)"
    ]
