"""Whether a result can be ranked with the results of the ledger."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from sequifier.artifacts.ledger import Record, State
from sequifier.search.comparable import Mismatch, SameInputs

INPUTS = st.dictionaries(st.sampled_from(["training_data_path", "weights", "context"]), st.sampled_from("ab"))
TARGETS = st.none() | st.fixed_dictionaries({"kind": st.sampled_from([20, 21])})


def record(
    run: int, inputs: Mapping[str, str] = {}, targets: Mapping[str, int] | None = None, state: State = "finished"
) -> Record:
    return Record(
        run=run, name=f"run-{run}", identity=str(run), data="d", state=state, batch_size=1, seed=0,
        inputs=dict(inputs), n_targets=None if targets is None else dict(targets),
    )  # fmt: skip


def after(*records: Record) -> SameInputs:
    same = SameInputs()
    for each in records:
        same.add(each)
    return same


def test_the_first_run_that_differs_is_named() -> None:
    same = after(
        record(4, {"weights": "a"}, {"kind": 20}), record(2, {"weights": "a"}, {"kind": 20}), record(1, {}, None)
    )
    assert same.mismatch({"weights": "a", "context": "c"}, {"kind": 20}) is None
    assert same.mismatch({"weights": "b"}, {"kind": 20}) == Mismatch(
        "weights is not what it was when run-2 was trained (b, then a): their losses cannot be compared", is_shared=True
    )
    assert same.mismatch({}, {"kind": 21}) == Mismatch(
        "validation targets {'kind': 21}, but run-2 has {'kind': 20}: their losses cannot be compared; use "
        "evaluation_context: full",
        is_shared=False,
    )


def test_only_the_last_record_of_a_run_counts() -> None:
    same = after(record(0, {"weights": "a"}, {"kind": 20}, "interrupted"), record(0, state="running"))
    assert same.mismatch({"weights": "b"}, {"kind": 21}) is None


def by_walking_through_all(
    latest: Mapping[int, Record], inputs: Mapping[str, str], n_targets: Mapping[str, int]
) -> tuple[int, str] | None:
    """The run with which a result does not agree, and the input; "" for the targets."""
    for run, other in sorted(latest.items()):
        for key in sorted(inputs):
            if key in other.inputs and other.inputs[key] != inputs[key]:
                return run, key
        if other.n_targets is not None and other.n_targets != n_targets:
            return run, ""
    return None


@given(
    ledger=st.lists(st.builds(record, st.integers(0, 5), INPUTS, TARGETS), max_size=12),
    inputs=INPUTS,
    n_targets=TARGETS.filter(bool),
)
def test_it_finds_what_a_walk_through_all_last_records_finds(
    ledger: list[Record], inputs: dict[str, str], n_targets: dict[str, int]
) -> None:
    same, latest = SameInputs(), {}
    for each in ledger:
        same.add(each)
        latest[each.run] = each
        found, expected = same.mismatch(inputs, n_targets), by_walking_through_all(latest, inputs, n_targets)
        if expected is None:
            assert found is None
        else:
            run, key = expected
            assert found is not None
            assert found.is_shared == bool(key)
            assert f"run-{run} " in found.reason
            assert found.reason.startswith(key or "validation targets")
