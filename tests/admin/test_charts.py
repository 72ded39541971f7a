"""Charts as numbers."""

from gateway.admin.console.charts import bars, steps


def test_the_tallest_bar_is_as_high_as_the_chart() -> None:
    chart = bars([(0, 5), (60, 10), (120, 0)])
    assert chart.most == 10
    assert [(bar.at, bar.y, bar.height) for bar in chart.bars] == [
        (0, 40.0, 40.0),
        (60, 0.0, 80.0),
        (120, 80.0, 0.0),
    ]
    assert [bar.x for bar in chart.bars] == [1.0, 201.0, 401.0]


def test_bars_of_nothing_stand_on_the_ground() -> None:
    assert [bar.height for bar in bars([(0, 0), (60, 0)]).bars] == [0.0, 0.0]


def test_lines_share_one_scale_stay_level_over_a_bucket_and_leave_gaps() -> None:
    chart = steps([0, 60, 120, 180], [1.0, 2.0, None, 4.0], [None, None, None, None])
    assert chart.most == 4.0
    assert chart.paths == ("M0.00 60.0H150.00V40.0H300.00M450.00 0.0H600.00", "")


def test_lines_of_nothing_have_no_highest_value() -> None:
    assert steps([0, 60], [None, None]).most is None
