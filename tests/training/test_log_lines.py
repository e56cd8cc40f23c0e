"""Lines that people read."""

from sequifier.printable import printable
from sequifier.training.log_lines import digits, share_lines


def test_a_sample_cannot_command_the_terminal() -> None:
    assert printable("a\n\tb é\x1b[31m\r") == "a\n\tb é\\x1b[31m\\x0d"


def test_losses_have_five_significant_digits() -> None:
    found = [digits(loss) for loss in (2.5, 0.000123456789, 31.38, 123456.7, float("nan"))]
    assert found == ["2.5000", "0.00012346", "31.380", "1.2346e+05", "nan"]


def test_classes_that_cannot_be_seen_are_in_quotes() -> None:
    shares = {"char": {" ": 0.5, "e": 0.25, "\n": 0.125}}
    assert share_lines(shares) == ["  char is predicted as ' ' 50.0 %, e 25.0 %, '\\n' 12.5 %"]
