"""Event files read back with TensorBoard itself."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sequifier.artifacts.sampler_results import SamplerLedger
from sequifier.errors import RunError
from sequifier.report.exports.tensorboard import SUFFIX, write_tensorboard
from sequifier.report.exports.trackers import tracked_runs, varied
from sequifier.results.read import read_search
from sequifier.results.trials import Table
from tests.support.sampler_records import records
from tests.support.synthetic_search import write_search

pytest.importorskip("tensorboard", reason="the extra `trackers` is not installed")
from tensorboard import context
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups


def accumulated(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0}).Reload()


@pytest.fixture(scope="module")
def written(wide: Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tensorboard")
    assert write_tensorboard(wide, folder) == 60
    return folder


def test_series_come_back(wide: Table, written: Path) -> None:
    for run in tracked_runs(wide)[:8]:
        found = accumulated(written / "wide" / run.trial.name)
        names = {name for each in run.evaluations for name in each.values} | set(run.results)
        assert set(found.Tags()["scalars"]) == names
        for name in sorted({name for each in run.evaluations for name in each.values}):
            events = found.Scalars(name)
            assert [event.step for event in events] == [each.step for each in run.evaluations]
            np.testing.assert_array_equal(
                np.float32([event.value for event in events]),
                np.float32([each.values[name] for each in run.evaluations]),  # TensorBoard keeps 32 bits
            )
            assert [event.wall_time for event in events] == [each.time for each in run.evaluations]
        for name, value in run.results.items():
            assert [np.float32(event.value) for event in found.Scalars(name)] == [np.float32(value)]


def test_the_table_of_hyperparameters_has_settings_and_results(wide: Table, written: Path) -> None:
    runs = {run.trial.name: run for run in tracked_runs(wide)}
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(written))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(written))
    backend = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    asked = api_pb2.GetExperimentRequest()
    experiment = get_experiment.Handler(context.RequestContext(), backend, "", asked).run()
    assert {info.name for info in experiment.hparam_infos} == set(varied(wide))
    assert experiment.metric_infos[0].name.tag == "best/val_loss"
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=1000,
        allowed_statuses=[value for _, value in api_pb2.Status.items()],
        aggregation_type=api_pb2.AGGREGATION_AVG,
        col_params=[api_pb2.ColParams(hparam=info.name) for info in experiment.hparam_infos],
    )
    groups = list_session_groups.Handler(context.RequestContext(), backend, "", request).run().session_groups
    assert {group.name for group in groups} == set(runs)
    for group in groups:
        run, (session,) = runs[group.name], group.sessions
        settings = {name: value for name, value in run.settings.items() if name in varied(wide)}
        assert set(group.hparams) == set(settings)
        for name, value in group.hparams.items():
            assert (value.number_value if value.HasField("number_value") else value.string_value) == settings[name]
        results = {each.name.tag: each.value for each in session.metric_values}
        if run.trial.value is not None:
            assert math.isclose(results["best/val_loss"], run.trial.value, rel_tol=1e-6)
        failed = run.trial.state in ("failed", "oom", "diverged")
        assert session.status == (api_pb2.STATUS_FAILURE if failed else api_pb2.STATUS_SUCCESS)


def test_a_second_export_replaces_the_first(tmp_path: Path) -> None:
    write_search(tmp_path, n_runs=4, epochs=3)
    table = read_search(str(tmp_path / "logs" / "wide"))
    folder = tmp_path / "t"
    write_tensorboard(table, folder)
    (folder / "wide" / "wide-run-3" / "mine.txt").write_text("mine")
    write_tensorboard(replace(table, trials=table.trials[:2]), folder)
    files = [path.relative_to(folder / "wide") for path in folder.rglob("*") if path.is_file()]
    events = [path.parent.as_posix() for path in files if path.name.endswith(SUFFIX)]
    assert sorted(events) == [".", "wide-run-0", "wide-run-1"], "one file for each run"
    others = {path.as_posix() for path in files if not path.name.endswith(SUFFIX)}
    assert others == {"sequifier_ledger.txt", "wide-run-3/mine.txt"}
    assert not (folder / "wide" / "wide-run-2").exists()
    assert len(accumulated(folder / "wide" / "wide-run-0").Scalars("val_loss")) == 3


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    for place in ("a", "b"):
        write_search(tmp_path / place, n_runs=2, epochs=3)
    one, other = (read_search(str(tmp_path / place / "logs" / "wide")) for place in ("a", "b"))
    write_tensorboard(one, tmp_path / "t")
    with pytest.raises(RunError, match="not an export of this search") as caught:
        write_tensorboard(other, tmp_path / "t")
    assert caught.value.where == str(tmp_path / "t" / "wide")
    (tmp_path / "u" / "wide").mkdir(parents=True)
    (tmp_path / "u" / "wide" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="not an export of this search"):
        write_tensorboard(one, tmp_path / "u")
    assert [path.name for path in (tmp_path / "u" / "wide").iterdir()] == ["mine.txt"]


def test_samplers_have_their_scores(tmp_path: Path) -> None:
    with SamplerLedger.open(tmp_path / "logs" / "hot") as ledger:
        for record in records(9):
            ledger.append(record)
    table = read_search(str(tmp_path / "logs" / "hot"))
    write_tensorboard(table, tmp_path / "t")
    found = accumulated(tmp_path / "t" / "hot" / "hot-run-0")
    assert set(found.Tags()["scalars"]) == {"score", "mae", "score_token_accuracy", "standard_error", "seconds"}
    assert np.float32(found.Scalars("score")[0].value) == np.float32(table.trials[0].value)
    assert "scalars" in accumulated(tmp_path / "t" / "hot" / "hot-run-4").Tags(), "one without a score"
