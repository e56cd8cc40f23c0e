"""A search as TensorBoard event files: DIR/SEARCH/RUN/, with the table of settings and results (HParams) beside them.

Written with torch's writer. The messages of HParams are built here: TensorBoard's own functions for them need
TensorFlow, and torch's `add_hparams` knows neither failed runs nor times. Format:
https://github.com/tensorflow/tensorboard/blob/master/tensorboard/plugins/hparams/plugin_data.proto
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sequifier.artifacts.atomic import write_text
from sequifier.errors import RunError
from sequifier.report.exports.trackers import MADE_BY, TrackedRun, missing, plain_name, tracked_runs, varied
from sequifier.results.settings import Setting, shown
from sequifier.results.trials import Table, is_number

SUFFIX = ".sequifier"
"""End of the names of our event files; a second export removes them and writes others."""

_SUCCESS, _FAILURE, _RUNNING = 1, 2, 3  # of tensorboard.plugins.hparams.api_pb2.Status
_STATUS = {"finished": _SUCCESS, "pruned": _SUCCESS, "diverged": _FAILURE, "failed": _FAILURE, "oom": _FAILURE}


def write_tensorboard(table: Table, folder: Path) -> int:
    """Write the runs of a search; those of an earlier export of it are replaced.

    Args:
        table: of one search.
        folder: for `tensorboard --logdir`; the search gets a folder of its own in it.

    Returns:
        The number of runs.

    Raises:
        RunError: TensorBoard is not installed, the folder cannot be written to, or its subfolder of this name is not an
            export of this search.
    """
    try:
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise missing("tensorboard") from error
    place = folder / plain_name(table.name)
    _claim(place, str(table.source.absolute()))
    runs = tracked_runs(table)
    names = [name for name in varied(table) if any(name in run.settings for run in runs)]
    kinds = {name: _kind([run.settings[name] for run in runs if name in run.settings]) for name in names}
    started = min((run.started for run in runs if run.started), default=0.0)
    try:
        _remove_earlier(place)
        _write(place, [(0, started, [_experiment(table, runs, kinds, started)])])
        for run in runs:
            _write(place / plain_name(run.trial.name), _events(run, kinds))
    except OSError as error:
        raise RunError(f"the event files cannot be written: {error.strerror}", where=str(place)) from error
    return len(runs)


def _claim(place: Path, source: str) -> None:
    """Make the search's folder, or recognise it; a folder of something else is left alone."""
    mark = place / f"{MADE_BY}.txt"
    if place.exists() and any(place.iterdir()):
        with suppress(OSError):
            if mark.read_text(encoding="utf-8").strip() == source:
                return
        raise RunError(
            "the folder has something that is not an export of this search",
            where=str(place),
            fix="choose another folder",
        )
    write_text(mark, source + "\n")


def _remove_earlier(place: Path) -> None:
    """Remove the event files of an earlier export."""
    for path in [*place.glob(f"*{SUFFIX}"), *place.glob(f"*/*{SUFFIX}")]:
        path.unlink()
        with suppress(OSError):  # not empty
            path.parent.rmdir()


def _events(run: TrackedRun, kinds: Mapping[str, str]) -> list[tuple[int, float, list[Any]]]:
    """Return the events of a run: (step, time, values)."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.text.summary_v2 import text_pb

    facts = "\n".join(f"- {name}: `{text}`" for name, text in run.facts.items())
    found = [(0, run.started, [_session_start(run, kinds), text_pb("run", facts).value[0]])]
    for each in run.evaluations:
        values = [Summary.Value(tag=name, simple_value=value) for name, value in each.values.items()]
        found.append((each.step, each.time, values))
    step, last = max(((each.step, each.time) for each in run.evaluations), default=(0, run.started))
    last = run.ended or last
    results = [Summary.Value(tag=name, simple_value=value) for name, value in run.results.items()]
    found.append((step, last, results))
    status = _STATUS.get(run.trial.state, _RUNNING)
    if status != _RUNNING:
        found.append((step, last, [_session_end(status, last)]))
    return found


def _write(folder: Path, events: Sequence[tuple[int, float, list[Any]]]) -> None:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from torch.utils.tensorboard import FileWriter

    writer = FileWriter(str(folder), filename_suffix=SUFFIX)
    for step, time, values in events:
        writer.add_summary(Summary(value=values), step, time)
    writer.close()


def _kind(values: Sequence[Setting]) -> str:
    """Return the field that TensorBoard stores the values of a setting in."""
    if all(isinstance(value, bool) for value in values):
        return "bool_value"
    return "number_value" if all(is_number(value) for value in values) else "string_value"


def _as(kind: str, value: Setting) -> Setting:
    return shown(value) if kind == "string_value" else value


def _experiment(table: Table, runs: Sequence[TrackedRun], kinds: Mapping[str, str], started: float) -> Any:
    """Return the columns of the HParams table: settings and results."""
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    types = {
        "bool_value": api_pb2.DATA_TYPE_BOOL,
        "number_value": api_pb2.DATA_TYPE_FLOAT64,
        "string_value": api_pb2.DATA_TYPE_STRING,
    }
    settings = []
    for name, kind in kinds.items():
        info = api_pb2.HParamInfo(name=name, type=types[kind])
        values = {_as(kind, run.settings[name]) for run in runs if name in run.settings}
        if kind == "number_value":
            numbers = [value for value in values if is_number(value)]
            info.domain_interval.min_value, info.domain_interval.max_value = min(numbers), max(numbers)
        else:
            info.domain_discrete.extend(sorted(values, key=str))
        settings.append(info)
    own = table.metric if table.kind == "sampler" else f"best/{table.metric}"
    results = list(dict.fromkeys([own, *(name for run in runs for name in run.results)]))
    metrics = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=name)) for name in results]
    experiment = api_pb2.Experiment(
        description=f"{table.name}: {table.metric}, {table.direction}",
        time_created_secs=started,
        hparam_infos=settings,
        metric_infos=metrics,
    )
    return _hparams(metadata.EXPERIMENT_TAG, plugin_data_pb2.HParamsPluginData(experiment=experiment))


def _session_start(run: TrackedRun, kinds: Mapping[str, str]) -> Any:
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    info = plugin_data_pb2.SessionStartInfo(
        group_name=run.trial.name, start_time_secs=run.started, model_uri=str(run.files.get("model", ""))
    )
    for name, kind in kinds.items():
        if name in run.settings:
            setattr(info.hparams[name], kind, _as(kind, run.settings[name]))
    return _hparams(metadata.SESSION_START_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_start_info=info))


def _session_end(status: int, time: float) -> Any:
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    info = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time)
    return _hparams(metadata.SESSION_END_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_end_info=info))


def _hparams(tag: str, content: Any) -> Any:
    """Return a value that carries a message of the HParams plugin; its tensor is empty."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.metadata import NULL_TENSOR, create_summary_metadata

    return Summary.Value(tag=tag, metadata=create_summary_metadata(content), tensor=NULL_TENSOR)
