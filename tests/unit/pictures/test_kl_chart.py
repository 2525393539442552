import numpy as np
import pytest

from trainer.pictures import charts, kl_chart

TWO_HUNDRED = [0.0] * 100 + [3.0, 0.009, 1.5, 6.0] + [1e-5] * 96


def bars(values, color):
    """The bars of a colour: the width of each in pixels, from the top."""
    figure = kl_chart.draw(values, charts.PAPER, of="a set")
    pixels = charts.to_pixels(figure)
    is_bar = (pixels == list(bytes.fromhex(color.strip("#")))).all(axis=2)
    widths = is_bar.sum(axis=1)
    starts = np.flatnonzero(np.diff(np.r_[0, widths > 0]) == 1)
    return [int(np.max(widths[start : start + 10])) for start in starts]


def test_the_units_that_matter_have_bars_to_scale_and_the_rest_has_one():
    shares = kl_chart.share_out(TWO_HUNDRED)
    assert (shares.units, shares.nats) == ([103, 100, 102], [6.0, 3.0, 1.5])
    assert shares.other_count == 197
    assert shares.other_nats == pytest.approx(0.009 + 96e-5)
    assert shares.sentence() == (
        "3 latent units with 6.00 down to 1.50 nats; 197 others with 0.010 "
        "nats together"
    )
    widths = bars(TWO_HUNDRED, charts.PAPER.train)
    np.testing.assert_allclose(
        np.divide(widths, widths[0]), [1, 0.5, 0.25], atol=0.02
    )


def test_of_many_units_the_20_greatest_have_bars_and_the_rest_is_cut():
    values = np.linspace(1, 3, 200)
    shares = kl_chart.share_out(values)
    assert shares.units == list(range(199, 179, -1))
    assert shares.other_nats == pytest.approx(values[:180].sum())
    assert len(bars(values, charts.PAPER.train)) == 20
    (others,) = bars(values, charts.PAPER.soft)
    assert others < 1.2 * max(bars(values, charts.PAPER.train))


@pytest.mark.parametrize(
    ("values", "units", "others"),
    [
        ([0.0] * 5, [], 5),
        ([0.0], [0], 0),
        ([2.0, 0.0], [0, 1], 0),
        ([-1e-9, 2.0, 0.0], [1], 2),
    ],
)
def test_one_unit_is_never_called_the_others(values, units, others):
    shares = kl_chart.share_out(values)
    assert (shares.units, shares.other_count) == (units, others)
    assert bars(values, charts.PAPER.ink) is not None


@pytest.mark.parametrize("scheme", [*charts.SCHEMES.values(), charts.PAPER])
def test_equal_charts_are_equal_bytes(scheme):
    first, second = (
        charts.to_svg(kl_chart.draw(TWO_HUNDRED, scheme)) for _ in range(2)
    )
    assert first == second
    assert scheme.train.encode() in first
