"""Lines that people read."""

from sequifier.training.log_lines import printable, share_lines


def test_a_sample_cannot_command_the_terminal() -> None:
    assert printable("a\n\tb é\x1b[31m\r") == "a\n\tb é\\x1b[31m\\r"


def test_classes_that_cannot_be_seen_are_in_quotes() -> None:
    shares = {"char": {" ": 0.5, "e": 0.25, "\n": 0.125}}
    assert share_lines(shares) == ["  char is predicted as ' ' 50.0 %, e 25.0 %, '\\n' 12.5 %"]
