"""The mean speed at which steps are done, and how long further ones take."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Pace:
    """Two reports of a number of steps: the first and the last one.

    Attributes:
        began: time of the first report.
        first: its number of steps.
        measured: time of the last report.
        last: its number of steps.
    """

    began: float
    first: int
    measured: float
    last: int

    @classmethod
    def at(cls, now: float, n_steps: int) -> "Pace":
        """The pace after its first report."""
        return cls(now, n_steps, now, n_steps)

    def after(self, now: float, n_steps: int) -> "Pace":
        """The pace after a further report."""
        return replace(self, measured=now, last=n_steps)

    @property
    def seconds_per_step(self) -> float | None:
        """The mean time of a step; None before two reports."""
        return None if self.last == self.first else (self.measured - self.began) / (self.last - self.first)

    def seconds_until(self, n_steps: int, now: float) -> float | None:
        """Seconds until this number of steps, at the mean speed so far; None before two reports."""
        if self.seconds_per_step is None:
            return None
        return max(self.seconds_per_step * (n_steps - self.last) - (now - self.measured), 0.0)
