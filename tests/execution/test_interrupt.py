"""Ctrl-C and SIGTERM: what the first, the second and the third one do."""

import signal

import pytest

from sequifier.execution.interrupt import Interrupt


def test_the_first_ctrl_c_asks_and_the_second_one_ends() -> None:
    asked: list[int] = []
    with pytest.raises(KeyboardInterrupt), Interrupt(lambda: asked.append(1)) as interrupt:
        assert not interrupt.is_set()
        signal.raise_signal(signal.SIGINT)
        assert (interrupt.is_set(), interrupt.is_urgent(), asked) == (True, False, [1])
        signal.raise_signal(signal.SIGINT)
    assert asked == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_sigterm_ends_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), Interrupt():
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("ask", [[signal.SIGTERM], [signal.SIGINT, signal.SIGINT], [signal.SIGINT, signal.SIGTERM]])
def test_what_must_not_be_left_in_the_middle_is_asked_to_end_before_it_is_ended(ask: list[signal.Signals]) -> None:
    with pytest.raises(KeyboardInterrupt), Interrupt() as interrupt:
        interrupt.is_deferred = True
        for number in ask:
            assert not interrupt.is_urgent()
            signal.raise_signal(number)
        assert interrupt.is_set() and interrupt.is_urgent()
        signal.raise_signal(signal.SIGINT)
