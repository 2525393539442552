import pytest

from trainer.config import TrainConfig
from trainer.pictures import charts
from trainer.schedule import Schedule

SIZE = (4, 2.4)


def rgb(color):
    return list(bytes.fromhex(color.removeprefix("#")))


def has_color(pixels, color):
    return (pixels == rgb(color)).all(axis=2)


def row(split, step, value):
    losses = dict.fromkeys(charts.LOSSES, value)
    return {"split": split, "step": step, **losses}


ROWS = [row("train", 1, 2.0), row("test", 1, 1.0)]


def losses(rows, **settings):
    return charts.to_pixels(
        charts.losses(rows, charts.LOSSES, charts.PAPER, (12, 3.6), **settings)
    )


def test_losses_are_drawn_even_of_one_row():
    one = losses([row("train", 1, 1.0)])
    assert one.shape == (360, 1200, 3)
    assert has_color(one, charts.PAPER.train).any()
    assert not has_color(one, charts.PAPER.held_out).any()
    curve = losses([row("test", step, step) for step in range(9)])
    assert has_color(curve, charts.PAPER.held_out).any()


def test_a_chart_shows_all_from_the_first_evaluation_on():
    rows = [
        row("train", 1, 1e6),
        row("validation", 2, 5.0),
        row("train", 3, 9.0),
        row("validation", 4, 1.0),
    ]
    least, most = charts.limits(rows, "kl_loss")
    assert 0 < least < 1
    assert 9 < most < 11
    # A curve that falls from a million to nine is no curve there.
    whole, part = losses(rows), losses(rows, whole=False)
    assert (whole != part).any()


def test_the_end_of_the_warm_up_and_restarts_are_marked():
    config = TrainConfig(kl_warmup_epochs=2)
    schedule = Schedule(steps_per_epoch=10, total_steps=100)
    rows = [row("train", step, 1.0) for step in (1, 100)]
    found = charts.marks(config, schedule, rows, [0, 70, 30, 70, 100])
    # A restart at 0 or at the last row explains no curve.
    assert found == charts.Marks(21, (30, 70))
    assert found.sentence() == (
        "Dashed: the KL has its full weight, from step 21 on. Dotted: the job "
        "was started again, and went on from step 30, 70."
    )
    figure = charts.losses(
        rows, charts.LOSSES, charts.PAPER, (12, 3.6), marks=found
    )
    for axes in figure.axes:
        marked = {
            line.get_xdata()[0]: line.get_linestyle()
            for line in axes.get_lines()
            if line.get_label() == "_mark"
        }
        assert marked == {21: "--", 30: ":", 70: ":"}
        names = [text.get_text() for text in axes.get_legend().get_texts()]
        assert names == ["train"]


def test_a_chart_that_ends_in_the_warm_up_has_no_mark():
    schedule = Schedule(steps_per_epoch=10, total_steps=100)
    rows = [row("train", 21, 1.0)]
    for epochs in (0, 2):
        config = TrainConfig(kl_warmup_epochs=epochs)
        assert charts.marks(config, schedule, rows).sentence() == ""
    many = charts.Marks(0, tuple(range(1, 31))).sentence()
    assert many.endswith("7, 8 and 22 more.")


@pytest.mark.parametrize("name", ["$\\x$", "long " * 50])
def test_the_name_of_a_split_can_be_anything(name):
    drawn = losses([row(name, 1, 1.0), row(name, 2, 2.0)])
    assert has_color(drawn, charts.PAPER.held_out).any()


@pytest.mark.parametrize(
    ("values", "is_above"), [((3, 1, 1), True), ((1, 1, 3), False)]
)
def test_the_legend_covers_no_end_of_a_curve(values, is_above):
    rows = [row("test", step, value) for step, value in enumerate(values)]
    figure = charts.losses(rows, charts.LOSSES, charts.PAPER, (12, 3.6))
    charts.to_pixels(figure)
    axes = figure.axes[0]
    legend = axes.get_legend().get_window_extent()
    assert (legend.y0 > axes.bbox.y0 + axes.bbox.height / 2) == is_above


@pytest.mark.parametrize("scheme", [*charts.SCHEMES.values(), charts.PAPER])
def test_equal_charts_are_equal_bytes(scheme):
    first, second = (
        charts.to_svg(charts.losses(ROWS, charts.LOSSES, scheme, SIZE))
        for _ in range(2)
    )
    assert first == second
    assert scheme.train.encode() in first


def test_a_chart_on_a_page_lets_its_background_through():
    page, paper = (
        charts.to_svg(charts.losses(ROWS, charts.LOSSES, scheme, SIZE))
        for scheme in (charts.SCHEMES["light"], charts.PAPER)
    )
    assert b"#ffffff" not in page
    assert b"#ffffff" in paper
