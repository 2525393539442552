import pytest

from trainer.errors import ConfigError
from trainer.search import space


def parameter(text):
    (found,) = space.parse([text], "--search", (), lambda *flags: None)
    return found


@pytest.mark.parametrize(
    "text",
    ["learning_rate=1e-4..1e-2:log", "latent_dim=2..9", "latent_dim=2,20,200"],
)
def test_a_parameter_is_written_as_it_was_read(text):
    assert parameter(text).text == text


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("learning_rate=1e-4..1e-2", [1e-4, 0.005], [0.02, 1, "0.001", None]),
        ("latent_dim=2..9:log", [2, 9], [1, 10, 2.0, True]),
        ("free_bits=0,0.50", [0.0, 0.5], [0.25, 0]),
        ("mixed_precision=none,bfloat16", ["none"], ["float16", 1]),
    ],
)
def test_a_value_is_one_of_the_candidates_or_not(text, inside, outside):
    assert all(map(parameter(text).has, inside))
    assert not any(map(parameter(text).has, outside))


def test_two_texts_of_one_number_are_one_candidate():
    assert parameter("free_bits=0.5,0.50,1").candidates == (0.5, 1.0)


def test_flags_lose_no_digit():
    values = {"learning_rate": 0.1 + 0.2, "latent_dim": 7, "binarize": "none"}
    assert space.flags_of(values) == [
        "--learning_rate=0.30000000000000004",
        "--latent_dim=7",
        "--binarize=none",
    ]


def test_a_message_names_the_flag_that_was_given():
    with pytest.raises(ConfigError, match=r"^--search=beta=1,2: beta cannot"):
        parameter("beta=1,2")
