"""Learning curves of one epoch are points."""

from sequifier.report.page.charts import Line, learning_curves


def test_the_point_of_a_training_loss_is_hollow_as_its_line_would_be_dashed() -> None:
    lines = [Line("r0", "machine", [0.5], "s0"), Line("r0", "machine, training", [0.9], "s0", is_dashed=True)]
    drawn = learning_curves(lines, title="curves", metric="val_loss")
    assert {dot.kind for dot in drawn.dots} == {"s0", "s0 hollow"} and not drawn.curves
