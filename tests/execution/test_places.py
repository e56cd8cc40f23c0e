"""Which places of a cluster a search uses: pure, no Ray."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequifier.config.execution import Execution
from sequifier.errors import ConfigError
from sequifier.execution.cluster.places import (
    Needs,
    Node,
    check_fields,
    free_places,
    n_places,
    no_room,
    with_gpus,
)
from tests.support.searches import search

GB = 1 << 30
SMALL, LARGE = Node("s", "small (s)", 4.0, memory=8 * GB), Node("l", "large (l)", 16.0, gpus=2.0, memory=64 * GB)


@pytest.mark.parametrize(
    ("node", "needs", "expected"),
    [
        (SMALL, Needs(1), 4),
        (SMALL, Needs(3), 1),
        (SMALL, Needs(5), 0),
        (SMALL, Needs(1, memory=3 * GB), 2),
        (SMALL, Needs(1, gpus=1.0), 0),
        (LARGE, Needs(1, gpus=1.0), 2),
        (LARGE, Needs(1, gpus=0.5), 4),
        (LARGE, Needs(10, gpus=1.0), 1),
        (LARGE, Needs(1, gpus=1 / 3), 6),
        (Node("x", "x", 3.0), Needs(1, memory=100 * GB), 3),
    ],
)
def test_as_many_runs_train_on_a_node_as_fit(node: Node, needs: Needs, expected: int) -> None:
    assert n_places(node, needs) == expected


def test_runs_are_spread_over_the_nodes() -> None:
    used = free_places([LARGE, SMALL], Needs(1), (), 6)
    assert Counter(place.node.key for place in used) == {"l": 3, "s": 3}


nodes = st.lists(st.builds(Node, st.text(min_size=1), st.just("n"), st.floats(0, 9)), unique_by=lambda node: node.key)


@given(nodes, nodes, st.integers(1, 20))
def test_a_search_uses_all_the_places_that_it_may_whatever_joins_and_leaves(
    first: list[Node], then: list[Node], most: int
) -> None:
    keys = {node.key for node in then}
    taken = [place for place in free_places(first, Needs(1), (), most) if place.node.key in keys]
    more = free_places(then, Needs(1), taken, most)
    places = {(place.node.key, place.number) for place in [*taken, *more]}
    assert len(places) == len(taken) + len(more), "none twice"
    room = {(node.key, number) for node in then for number in range(int(node.cpus))}
    free = room - {(place.node.key, place.number) for place in taken}
    assert len(more) == min(len(free), most - len(taken))


def test_a_run_reserves_a_gpu_where_there_is_one_and_it_may_use_it() -> None:
    assert with_gpus(Needs(1, memory=GB), Execution(), "auto", [SMALL, LARGE]) == Needs(1, gpus=1.0)
    assert with_gpus(Needs(1), Execution(runs_per_device=4), "cuda", [LARGE]) == Needs(1, gpus=0.25)
    assert with_gpus(Needs(1), Execution(), "cpu", [LARGE]) == Needs(1)
    assert with_gpus(Needs(1), Execution(gpus_per_run=0), "auto", [LARGE]) == Needs(1)
    assert with_gpus(Needs(1), Execution(), "auto", [SMALL]) == Needs(1), "nobody asked for one"


@pytest.mark.parametrize(("section", "device"), [({"gpus_per_run": 1}, "auto"), ({}, "cuda")])
def test_a_gpu_that_is_asked_for_and_not_there_is_an_error(section: dict[str, Any], device: str) -> None:
    with pytest.raises(ConfigError, match=r"no node of the cluster has a GPU: small \(s\) has 4 CPUs and 0 GPUs"):
        with_gpus(Needs(1), Execution(**section), device, [SMALL])


def test_a_run_that_fits_nowhere_is_an_error_that_lists_the_nodes() -> None:
    error = no_room(Needs(32), [SMALL, LARGE])
    assert "no node has the 32 CPUs of a run, or the memory: small (s) has 4 CPUs and 0 GPUs, large (l)" in str(error)


@pytest.mark.parametrize(
    ("section", "device", "message"),
    [
        ({"devices": 2}, "auto", "`execution.devices`: 2 counts devices of one machine, and engine is ray"),
        ({"devices": [0, 1]}, "auto", "max_parallel limits how many runs train at the same time"),
        ({}, "cuda:1", "cuda:1 is a device of one machine"),
        ({}, "mps", "mps is a device of one machine"),
        ({"gpus_per_run": 0}, "cuda", "0 does not fit device cuda"),
    ],
)
def test_fields_of_one_machine_are_errors(tmp_path: Path, section: dict[str, Any], device: str, message: str) -> None:
    config = search(execution={"engine": "ray", **section}, project_root=str(tmp_path))
    with pytest.raises(ConfigError) as caught:
        check_fields(config, device)
    assert message in str(caught.value)
