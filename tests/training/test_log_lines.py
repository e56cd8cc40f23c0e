"""Lines that people read."""

from sequifier.printable import printable
from sequifier.training.log_lines import baseline_lines, digits, epoch_lines, evaluation_lines, share_lines


def test_a_sample_cannot_command_the_terminal() -> None:
    assert printable("a\n\tb é\x1b[31m\r") == "a\n\tb é\\x1b[31m\\x0d"


def test_losses_have_five_significant_digits() -> None:
    found = [digits(loss) for loss in (2.5, 0.000123456789, 31.38, 123456.7, float("nan"))]
    assert found == ["2.5000", "0.00012346", "31.380", "1.2346e+05", "nan"]


def test_classes_that_cannot_be_seen_are_in_quotes() -> None:
    shares = {"char": {" ": 0.5, "e": 0.25, "\n": 0.125}}
    assert share_lines(shares) == ["  char is predicted as ' ' 50.0 %, e 25.0 %, '\\n' 12.5 %"]


def test_the_metric_that_ranks_is_beside_the_loss() -> None:
    entry = {
        "epoch": 2,
        "epochs": 10,
        "step": 30,
        "train_loss": 5.25,
        "val_loss": 6.5,
        "val_item_accuracy": 0.125,
        "val_item_ndcg_10": 0.0391234,
        "learning_rate": 0.001,
        "seconds": {"training": 1.0, "validation": 0.5},
        "is_best": True,
    }
    before, after = "epoch 2/10  train loss 5.2500  validation loss 6.5000  ", "  1.5 s  best so far"
    assert epoch_lines(entry, "val_item_ndcg_10") == [f"{before}val_item_ndcg_10 0.039123{after}"]
    for metric in ("val_loss", "val_item_accuracy"):
        assert epoch_lines(entry, metric) == [f"{before}accuracy of item 12.5 %{after}"]
    within = evaluation_lines({**entry, "epoch": 1.5, "is_best": False}, "val_item_ndcg_10")
    assert within == ["epoch 1.50/10 step 30  train loss 5.2500  validation loss 6.5000  val_item_ndcg_10 0.039123"]


def test_each_target_has_a_metric_of_its_kind() -> None:
    entry = {"epoch": 0.5, "epochs": 2, "step": 3, "train_loss": 2.0, "val_loss": 1.0, "is_best": False}
    entry |= {"val_price_mae": 3.0, "val_price_mae_step_1": 2.0, "val_item_accuracy": 0.5, "val_item_ndcg_5": 0.25}
    entry |= {"val_gap_mae": 8.0, "val_gap_rmse": 9.0, "val_gap_crps": 7.0}
    before = "epoch 0.50/2 step 3  train loss 2.0000  validation loss 1.0000"
    price, item, gap = "mae of price 3.0000", "accuracy of item 50.0 %", "crps of gap 7.0000"
    for metric, shown in (
        *((metric, [price, item, gap]) for metric in ("val_loss", "val_price_mae", "val_gap_crps")),
        ("val_item_ndcg_5", ["val_item_ndcg_5 0.25000", price, gap]),
        ("val_price_mae_step_1", ["val_price_mae_step_1 2.0000", item, gap]),
    ):
        assert "".join(evaluation_lines(entry, metric)) == "  ".join([before, *shown])


def test_metrics_of_many_targets_are_below_and_no_line_is_long() -> None:
    metrics = {f"val_{target}_mae": 12.5 for target in ("temperature", "pressure", "vibration", "time_gap", "x" * 90)}
    entry = {"epoch": 3, "epochs": 10, "train_loss": 2.0, "val_loss": 1.0, "is_best": True, **metrics}
    of_targets = [
        "  mae of temperature 12.500  mae of pressure 12.500  mae of vibration 12.500  mae of time_gap 12.500",
        f"  mae of {'x' * 90} 12.500",
    ]
    assert epoch_lines({**entry, "seconds": {"training": 1.0, "validation": 0.5}}, "val_loss") == [
        "epoch 3/10  train loss 2.0000  validation loss 1.0000  1.5 s  best so far",
        *of_targets,
    ]
    assert baseline_lines("last value", entry, "val_loss") == [
        "best baseline: last value  validation loss 1.0000",
        *of_targets,
    ]
