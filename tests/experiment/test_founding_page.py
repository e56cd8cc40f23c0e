"""Every code block of the page that experiments grew from, imports adapted; gaps are filled around a block."""

import json
import re
import sys
import types
from pathlib import Path

import pytest

from sequifier.experiment import Experiment, run_experiment
from tests.support.experiment_files import HEADER, folders, last, start, write, write_experiment

TEMPLATE = '''"""Experiment description - saved as metadata."""
from sequifier.experiment import Experiment
from sequifier.experiment import file_namespace, folder_path

STAND_INS
# --- PARAMETERS (uppercase = auto-detected) ---
LEARNING_RATE: float = 0.001
EPOCHS: int = 100
BATCH_SIZE: int = 32

# --- SPECIAL PARAMETERS ---
__DEBUG__: bool = True        # Reuses same folder during development
__TESTING__: bool = False     # Quick run mode for validation

# --- EXPERIMENT DECORATOR ---
@Experiment(
    base_path=folder_path(__file__),
    namespace=file_namespace(__file__),
    glob=globals(),
)
def experiment(e: Experiment) -> None:
    """Main experiment logic."""

    # Store configuration
    e["config/learning_rate"] = LEARNING_RATE

    # Log messages (writes to stdout AND log file)
    e.log("Starting experiment...")

    # Training loop
    for epoch in range(EPOCHS):
        loss = train_one_epoch()
        e.track("metrics/loss", loss)  # Time-series tracking

    # Save artifacts
    e["results/final_loss"] = loss
    e.commit_json("results.json", {"final_loss": loss})
    e.commit_fig("training_curve.png", fig)

AND_MORE
# --- REQUIRED: Run when executed directly ---
experiment.run_if_main()
'''
STAND_INS = """
import itertools
_losses = (1 / n for n in itertools.count(1))
def train_one_epoch(): return next(_losses)
class Figure:
    def savefig(self, path): open(path, "wb").write(b"a picture")
fig = Figure()
"""
TESTING = '''
@experiment.testing
def testing(e: Experiment):
    """Runs when __TESTING__ = True. Reduce iterations for quick tests."""
    e.EPOCHS = 2
    e.BATCH_SIZE = 4
'''
ANALYSIS = '''
@experiment.analysis
def analysis(e: Experiment):
    """Post-experiment analysis - runs after main experiment."""
    min_loss = min(e["metrics/loss"])
    e.log(f"Minimum loss achieved: {min_loss}")
    e.commit_json("analysis.json", {"min_loss": min_loss})
'''


@pytest.fixture
def template(tmp_path: Path) -> Path:
    text = TEMPLATE.replace("STAND_INS", STAND_INS).replace("AND_MORE", TESTING + ANALYSIS)
    return write(tmp_path, "my_experiment.py", text)


def test_the_minimal_template(template: Path) -> None:
    said = start(template).stdout
    assert "Starting experiment..." in said.splitlines()
    e = Experiment.load(template.parent / "results" / "my_experiment" / "debug")
    assert e["config/learning_rate"] == 0.001
    assert e["metrics/loss"] == [1 / n for n in range(1, 101)], "the whole series"
    assert e["results/final_loss"] == 0.01
    assert e.metadata["description"] == "Experiment description - saved as metadata."
    assert "Starting experiment..." in e.log_path.read_text()
    assert json.loads((e.path / "results.json").read_text()) == {"final_loss": 0.01}
    assert (e.path / "training_curve.png").read_bytes() == b"a picture"
    assert json.loads((e.path / "analysis.json").read_text()) == {"min_loss": 0.01}
    assert "Minimum loss achieved: 0.01" in said
    assert (e.path / "code" / "my_experiment.py").read_text() == template.read_text()


def test_the_command_line_changes_the_bare_variables_too(template: Path) -> None:
    start(template, "--LEARNING_RATE", "0.01", "--EPOCHS", "50")
    e = last(template.parent, "results/my_experiment")
    assert (e["config/learning_rate"], len(e["metrics/loss"])) == (0.01, 50)
    assert e.parameters["EPOCHS"] == 50


def test_testing_mode_from_the_command_line(template: Path) -> None:
    start(template, "--__TESTING__", "True")
    e = last(template.parent, "results/my_experiment")
    assert len(e["metrics/loss"]) == 2
    assert (e.parameters["EPOCHS"], e.parameters["BATCH_SIZE"], e.parameters["__TESTING__"]) == (2, 4, True)


def run_inside(folder: Path, block: str, **options: str) -> Experiment:
    """Run a block as the body of an experiment."""
    return run_experiment(write_experiment(folder, block, **options))


def test_data_storage(tmp_path: Path) -> None:
    e = run_inside(
        tmp_path,
        """
        # Slash notation creates nested structure automatically
        e["config/learning_rate"] = 0.001
        e["metrics/train/loss"] = 0.5
        e["results/final_accuracy"] = 0.95

        # Retrieve data
        value = e["config/learning_rate"]
        e["value"] = value
        """,
    )
    assert json.loads(e.data_path.read_text()) == {
        "config": {"learning_rate": 0.001},
        "metrics": {"train": {"loss": 0.5}},
        "results": {"final_accuracy": 0.95},
        "value": 0.001,
    }


def test_logging(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    e = run_inside(
        tmp_path,
        """
        i, loss = 3, 0.25
        e.log("Starting training...")           # Log to stdout + file
        e.log(f"Epoch {i}: loss = {loss:.4f}")
        e.log_parameters()                       # Print all parameters
        e.log("--")
        e.log_parameters(["LEARNING_RATE"])      # Print specific parameters
        """,
        above="LEARNING_RATE: float = 0.001\nEPOCHS: int = 2\n",
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:-1] == [
        "Starting training...",
        "Epoch 3: loss = 0.2500",
        "LEARNING_RATE (float): 0.001",
        "EPOCHS (int): 2",
        "--",
        "LEARNING_RATE (float): 0.001",
    ]
    stamped = [
        re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  (.*)", line) for line in e.log_path.read_text().splitlines()
    ]
    assert [match[1] for match in stamped if match] == lines


def test_tracking(tmp_path: Path) -> None:
    e = run_inside(
        tmp_path,
        """
        EPOCHS, loss, acc = 3, 0.5, 0.9
        # Appends to a list automatically
        for epoch in range(EPOCHS):
            e.track("metrics/loss", loss)
            e.track("metrics/accuracy", acc)

        # Track multiple at once
        e.track_many({"loss": loss, "accuracy": acc})
        """,
    )
    assert e["metrics"] == {"loss": [0.5] * 3, "accuracy": [0.9] * 3}
    assert (e["loss"], e["accuracy"]) == ([0.5], [0.9])


def test_artifacts(tmp_path: Path) -> None:
    e = run_inside(
        tmp_path,
        """
        import pickle
        from types import SimpleNamespace
        config_dict, data = {"a": 1}, [1, 2]
        matplotlib_fig = SimpleNamespace(savefig=lambda path: path.write_bytes(b"png"))
        e.commit_json("config.json", config_dict)    # Save JSON
        e.commit_fig("plot.png", matplotlib_fig)     # Save figure
        e.commit_raw("summary.txt", "text content")  # Save raw text

        # File handle for custom formats
        with e.open("custom.pkl", "wb") as f:
            pickle.dump(data, f)
        """,
    )
    assert json.loads((e.path / "config.json").read_text()) == {"a": 1}
    assert (e.path / "plot.png").read_bytes() == b"png"
    assert (e.path / "summary.txt").read_text() == "text content"
    with e.open("custom.pkl", "rb") as file:
        assert file.read()[-1:] == b"."


def test_parameter_access(tmp_path: Path) -> None:
    e = run_inside(
        tmp_path,
        """
        # Direct attribute access
        lr = e.LEARNING_RATE
        epochs = e.EPOCHS

        # Via parameters dict
        lr = e.parameters["LEARNING_RATE"]
        e["seen"] = [lr, epochs]
        """,
        above="LEARNING_RATE = 0.1\nEPOCHS = 7\n",
    )
    assert e["seen"] == [0.1, 7]


def test_special_parameters_have_their_defaults(tmp_path: Path) -> None:
    e = run_inside(tmp_path, "")
    specials = ("__DEBUG__", "__TESTING__", "__REPRODUCIBLE__", "__CACHING__", "__PREFIX__")
    assert [e.parameters[name] for name in specials] == [False, False, False, True, ""]


HOOKS = """
@experiment.hook("before_training")
def setup(e: Experiment):
    e.log("Setting up...")

@experiment.hook("after_epoch")
def log_epoch(e: Experiment, epoch, loss):
    e.log(f"Epoch {epoch}: {loss:.4f}")

# Execute hooks in main experiment
def experiment(e: Experiment):
    e.apply_hook("before_training")
    for epoch in range(EPOCHS):
        loss = train()
        e.apply_hook("after_epoch", epoch=epoch, loss=loss)
"""


def test_hooks(tmp_path: Path) -> None:
    made = "experiment = the_one = Experiment(folder_path(__file__), file_namespace(__file__), globals())\n"
    around = f"EPOCHS = 2\ndef train(): return 0.5\n{made}"
    path = write(tmp_path, "exp.py", f"{HEADER}{around}{HOOKS}\nthe_one(experiment)\n")
    said = run_experiment(path).log_path.read_text()
    assert re.findall(r"  (Setting up\.\.\.|Epoch .*)", said) == ["Setting up...", "Epoch 0: 0.5000", "Epoch 1: 0.5000"]


PARENT_BODY = """
e["learning_rate"] = LEARNING_RATE
e["data"] = e.apply_hook("process_data", data=[1, 2], default=[1, 2])
"""
CHILD = """# child_experiment.py
from sequifier.experiment import Experiment
from sequifier.experiment import file_namespace, folder_path

modified_data = "modified"
experiment = Experiment.extend(
    "parent_experiment.py",
    base_path=folder_path(__file__),
    namespace=file_namespace(__file__),
    glob=globals(),
)

# Override parameters (just redefine them)
LEARNING_RATE = 0.01  # Different from parent

# Extend via hooks defined in parent
@experiment.hook("process_data")
def custom_processing(e, data):
    return modified_data

experiment.run_if_main()
"""


def test_inheritance(tmp_path: Path) -> None:
    own_hook = "@experiment.hook('process_data')\ndef own(e, data): return 'of the parent'\n"
    write_experiment(
        tmp_path, PARENT_BODY, above="LEARNING_RATE: float = 0.001\n", below=own_hook, name="parent_experiment.py"
    )
    start(write(tmp_path, "child_experiment.py", CHILD))
    child = last(tmp_path, "results/child_experiment")
    assert child.data == {"learning_rate": 0.01, "data": "modified"}
    assert sorted(path.name for path in (child.path / "code").iterdir()) == [
        "child_experiment.py",
        "parent_experiment.py",
    ]
    start(tmp_path / "parent_experiment.py")
    assert last(tmp_path, "results/parent_experiment").data == {"learning_rate": 0.001, "data": "of the parent"}


CACHING = """
@experiment
def experiment(e: Experiment):
    # The @e.cache.cached decorator caches function results to disk
    @e.cache.cached(name="heavy_computation", scope=("preprocessing",))
    def heavy_computation(data):
        # Expensive operation - only runs once, then loads from cache
        e.track("computed", 1)
        processed_data = [2 * each for each in data]
        return processed_data

    my_data = [1, 2]
    result = heavy_computation(my_data)  # First call: computes and caches
    result = heavy_computation(my_data)  # Subsequent calls: loads from cache
    e["result"] = result
"""
MADE = "experiment = Experiment(folder_path(__file__), file_namespace(__file__), globals())\n"


def test_caching(tmp_path: Path) -> None:
    path = write(tmp_path, "my_experiment.py", HEADER + MADE + CACHING)
    first, second = run_experiment(path), run_experiment(path)
    assert first.data == {"computed": [1], "result": [2, 4]}
    assert second.data == {"result": [2, 4]}
    assert (tmp_path / "results/my_experiment/cache/preprocessing/heavy_computation.pkl.gz").is_file()
    assert re.search(r"cache: 'heavy_computation' loaded, \d+ seconds? old", second.log_path.read_text())


def test_the_cache_of_debug_runs_is_in_their_folder_and_is_kept(tmp_path: Path) -> None:
    path = write(tmp_path, "my_experiment.py", HEADER + "__DEBUG__ = True\n" + MADE + CACHING)
    run_experiment(path).commit_raw("of the first run", "")
    assert run_experiment(path).data == {"result": [2, 4]}
    assert (tmp_path / "results/my_experiment/debug/cache/preprocessing/heavy_computation.pkl.gz").is_file()
    assert [path.name for path in (tmp_path / "results/my_experiment").iterdir()] == ["debug"]
    assert not (tmp_path / "results/my_experiment/debug/of the first run").exists()


def test_cache_scope_as_printed(tmp_path: Path) -> None:
    block = """
    # Static scope
    @e.cache.cached("model", scope=("models", "transformer"))

    # Dynamic scope based on experiment parameters
    def get_scope(e):
        return ("data", e.DATASET, f"dim_{e.HDC_DIM}")

    @e.cache.cached("embeddings", scope=get_scope)
    def compute_embeddings():
        return [1.5]
    e["embeddings"] = compute_embeddings()
    """
    e = run_inside(tmp_path, block, above="DATASET = 'flights'\nHDC_DIM = 64\n")
    assert e["embeddings"] == [1.5]
    assert (e.cache.path / "data/flights/dim_64/embeddings.pkl.gz").is_file()
    assert (e.cache.path / "models/transformer/model.pkl.gz").is_file(), "a blank line does not end a decorator"


def test_cache_backends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_for_joblib(monkeypatch)
    block = """
    # Pickle (default) - general Python objects
    @e.cache.cached("data", backend=CacheBackend.PICKLE)

    # Joblib - optimized for NumPy arrays and large data
    @e.cache.cached("arrays", backend=CacheBackend.JOBLIB)

    # JSON - human-readable, limited to JSON-serializable types
    @e.cache.cached("config", backend=CacheBackend.JSON)
    def compute():
        return {"a": [1, 2]}
    e["config"] = compute()
    """
    e = run_inside(tmp_path, block)
    assert e["config"] == {"a": [1, 2]}
    assert sorted(path.name for path in e.cache.path.iterdir()) == ["arrays.joblib.gz", "config.json.gz", "data.pkl.gz"]
    assert e.cache.load("arrays") == e.cache.load("data") == e.cache.load("config") == {"a": [1, 2]}


def stand_in_for_joblib(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where joblib is not installed, pickle under its name."""
    try:
        import joblib  # type: ignore[import-not-found, import-untyped, unused-ignore] # noqa: F401
    except ModuleNotFoundError:
        import pickle

        module = types.ModuleType("joblib")
        module.dump, module.load = pickle.dump, pickle.load  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "joblib", module)


def test_disabling_the_cache(tmp_path: Path) -> None:
    computed = "@e.cache.cached('n')\ndef n(): return e['n']\n"
    run_inside(tmp_path, f"e['n'] = 1\n{computed}e['got'] = n()")
    by_call = run_inside(tmp_path, f"e['n'] = 2\ne.cache.set_enabled(False)\n{computed}e['got'] = n()")
    by_parameter = run_inside(tmp_path, f"e['n'] = 3\n{computed}e['got'] = n()", above="__CACHING__: bool = False\n")
    after = run_inside(tmp_path, f"e['n'] = 4\n{computed}e['got'] = n()")
    assert [e["got"] for e in (by_call, by_parameter, after)] == [2, 3, 1], "nothing was loaded, and nothing saved"


def test_saving_and_loading_directly(tmp_path: Path) -> None:
    block = """
    data = {"a": 1}
    # Save directly (without decorator)
    e.cache.save(data, name="my_data", scope=("preprocessing",))

    # Load directly
    data = e.cache.load(name="my_data", scope=("preprocessing",))
    e["data"] = data
    """
    assert run_inside(tmp_path, block)["data"] == {"a": 1}


def test_the_output_structure(tmp_path: Path) -> None:
    body = "e.log('hello')\ne['key'] = 'value'\ne.commit_json('results.json', {})\ne.commit_raw('plot.png', b'png')"
    e = run_inside(tmp_path, body, above="SEED: int = 1\n")
    (folder,) = folders(tmp_path)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d__\d\d-\d\d-\d\d__[a-z0-9]{6}", folder.name)
    assert sorted(path.name for path in folder.iterdir()) == [
        "code",
        "experiment_data.json",
        "experiment_log.txt",
        "experiment_meta.json",
        "plot.png",
        "results.json",
    ]
    metadata = json.loads((folder / "experiment_meta.json").read_text())
    assert metadata["parameters"]["SEED"] == 1
    assert metadata["duration_seconds"] >= 0
    assert metadata["status"] == "done"
    assert e.path == folder
