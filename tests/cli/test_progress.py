"""What a person reads of a search while it runs."""

from types import SimpleNamespace
from typing import Any

from sequifier.cli.search_plan import memory_lines, needs_lines
from sequifier.cli.tables import refused_text
from sequifier.config.size import size_text
from sequifier.search.estimate import DiskUse
from sequifier.search.memory import MemoryUse
from sequifier.search.placement import Placement, Slot


def plan(keep_models: str | int = "all") -> Any:
    return SimpleNamespace(config=SimpleNamespace(keep_models=keep_models))


def test_the_needs_of_a_search_are_said_as_far_as_they_are_known() -> None:
    use = DiskUse(models=2_000_000, passing=0, others=34_000_000)
    assert needs_lines(plan(), use, 12_300_000_000, None) == [
        "  disk: about 2.0 MB of models, 34 MB of checkpoints and records; 12.3 GB free"
    ]
    (best,) = needs_lines(plan("best"), DiskUse(2_000_000, 1_000_000, 0), 10**9, None)
    assert "about 2.0 MB of models of the best run (up to 1.0 MB more while it runs)" in best
    assert " of models of the best 3 runs," in needs_lines(plan(3), use, 10**9, None)[0]
    assert needs_lines(plan(), None, 10**9, 720.0) == ["  time left: about 12 min, estimated from the runs so far"]


def placed(*devices: int | None) -> Placement:
    """A placement with 16 GB for each device."""
    return Placement(tuple(Slot(device) for device in devices), memory=16_000_000_000)


def test_the_memory_of_training_is_said_with_a_warning_where_the_machine_has_less() -> None:
    assert memory_lines(None, placed(None)) == []
    assert memory_lines(MemoryUse(34_000_000, 34_100_000, 0), placed(None)) == [
        "  memory: about 34 MB for training, and 350 MB for libraries and data"
    ]
    several, warning = memory_lines(MemoryUse(34_000_000, 15_700_000_000, 10_000_000), placed(None))
    assert several == "  memory: about 34 MB to 15.7 GB for training, and 360 MB for libraries and data"
    assert warning == "  warning: this machine has 16.0 GB; runs that do not fit end as oom"


def test_the_memory_of_runs_that_share_a_device_is_added_up() -> None:
    together, warning = memory_lines(MemoryUse(30_000_000, 8_000_000_000, 0), placed(None, None))
    assert together == (
        "  memory: about 60 MB to 16.0 GB for training of 2 runs at a time, and 700 MB for libraries and data"
    )
    assert warning.startswith("  warning: this machine has 16.0 GB")
    (one_each,) = memory_lines(MemoryUse(30_000_000, 8_000_000_000, 0), placed(0, 1))
    assert one_each == "  memory: about 30 MB to 8.0 GB on a GPU for training, estimated as on a CPU"
    *_, warning = memory_lines(MemoryUse(30_000_000, 9_000_000_000, 0), placed(0, 1, 0))
    assert warning == "  warning: the GPU has 16.0 GB; runs that do not fit end as oom"


def test_more_than_is_free_is_a_warning() -> None:
    *_, warning = needs_lines(plan(), DiskUse(2_000_000, 0, 1_000_000), 1_000_000, None)
    assert warning == "  warning: this is more than the free disk space; keep_models: best needs less"


def test_what_was_passed_over_is_said_with_the_commonest_reasons() -> None:
    assert refused_text({"a": 1}) == "1 proposal was not a valid run and was skipped: a"
    text = refused_text({"a": 1, "b": 5, "c": 2, "d": 1, "e": 1})
    assert text == "10 proposals were not valid runs and were skipped: b; c; a; and 2 more reasons"


def test_sizes_are_rounded_as_a_person_says_them() -> None:
    assert [size_text(number) for number in (40_000, 9_940_000, 34_400_000, 1_234_000_000)] == [
        *("40 kB", "9.9 MB", "34 MB", "1.2 GB"),
    ]
