"""Progress of a sampler search on stderr: a line for each configuration."""

from typing import Any

from sequifier.cli.output import duration
from sequifier.cli.progress import BarDisplay
from sequifier.percent import counted
from sequifier.results.settings import short_text


class SamplerProgress(BarDisplay):
    """Shows a sampler search; call it with events."""

    _label = ""
    _best: float | None = None
    _seconds, _timed = 0.0, 0

    def __call__(self, event: str, **fields: Any) -> None:
        """Show an event of `api.sampler_search`."""
        if self._verbose is False:
            return
        show = {
            "note": self._note,
            "planned": self._planned,
            "checked": self._checked,
            "trial_started": self._started,
            "trial_ended": self._ended,
        }.get(event)
        if show is not None:
            show(fields)

    def _note(self, fields: dict[str, Any]) -> None:
        self._show(f"  {fields['line']}")

    def _planned(self, fields: dict[str, Any]) -> None:
        for line in plan_lines(fields["setup"], fields["n_left"]):
            self._show(line)

    def _checked(self, fields: dict[str, Any]) -> None:
        for line in fields["lines"]:
            self._show(f"  checked {line}")

    def _started(self, fields: dict[str, Any]) -> None:
        found, left, wanted = fields["trial"].found, fields["n_left"], fields["n_wanted"]
        settings = "  ".join(f"{name} {short_text(value)}" for name, value in found.parameters.items())
        place = f"{wanted - left + 1:>{len(str(wanted))}}/{wanted}"
        self._label = f"[{place}] run {fields['trial'].number}  {found.sampler_type}  {settings}"
        if self._timed:
            self._start_bar(f"{self._label}  about {duration(self._seconds / self._timed * left)} left")
        else:
            self._start_bar(self._label)

    def _ended(self, fields: dict[str, Any]) -> None:
        record = fields["record"]
        seconds = record.seconds.get("total")
        took = "" if seconds is None else f"  {seconds:.1f} s"
        self._seconds, self._timed = self._seconds + (seconds or 0.0), self._timed + 1
        if record.mean_score is None:
            self._show(f"{self._label}  failed: {record.error}{took}", "red")
            return
        is_best = self._best is None or record.mean_score > self._best
        self._best = record.mean_score if is_best else self._best
        error = "" if record.standard_error is None else f" ± {record.standard_error:.3f}"
        missing = f"  {record.missing} missing" if record.missing else ""
        best = "  best so far" if is_best else ""
        self._show(f"{self._label}  score {record.mean_score:.3f}{error}{missing}{took}{best}")
        if self._verbose:
            self._show("    " + "  ".join(f"{name} {value:.2f}" for name, value in record.scores.items()))


def plan_lines(setup: Any, n_left: int) -> list[str]:
    """Return the plan of a search in a few lines.

    Args:
        setup: a `sampler_search.setup.Setup`.
        n_left: number of configurations that are still to be tried.
    """
    config, source = setup.config, setup.source
    cells = counted(setup.space.size, "cell") if setup.space.is_finite else "a continuous space"
    weights = ", ".join(f"{name} {weight:g}" for name, weight in setup.weights.items())
    per_run = f"{len(source.prompts)} prompts x {config.samples_per_config} samples"
    lines = [
        f"{config.sampler_search_name}: {config.search_strategy} over {cells} of {', '.join(config.sampler_types)}, "
        f"{counted(setup.n_wanted, 'configuration')} of {per_run}, seed {setup.seed}",
        f"  model {source.name}",
        f"  score, 0 to 10: {weights}",
    ]
    if not n_left:
        return [*lines, f"  nothing is left to try: {setup.n_wanted:,} configurations are done"]
    requests = []
    if config.endpoint is not None:
        requests.append(f"{n_left * setup.n_generations:,} to the endpoint")
    if config.judge.type == "http":
        requests.append(f"{n_left * setup.n_generations:,} to the judge")
    asked = f", at most {' and '.join(requests)} requests" if requests else ""
    return [*lines, f"  {n_left:,} to try{asked}"]
