"""Keys of older versions: read under their new names, never silently."""

from pathlib import Path

import pytest

from sequifier.config.fields import SEARCH_SECTIONS
from sequifier.config.inference import InferConfig
from sequifier.config.loading.kinds import KINDS
from sequifier.config.loading.load import load
from sequifier.config.loading.old_names import ELSEWHERE, Renamed, renames
from sequifier.config.loading.problems import annotation_at
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.search import SearchConfig
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError

RUN = "metadata_config_path: m.json\nmodel_name: first\ntarget_columns: [item]\n"


def write(folder: Path, text: str, name: str = "config.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_no_other_name_is_a_field_itself() -> None:
    places = [(model, ()) for model in KINDS.values()] + [(TrainConfig, (section,)) for section in SEARCH_SECTIONS]
    for model, path in places:
        fields = annotation_at(model, path).model_fields
        assert not set(renames(model, path)) & (set(fields) | set(ELSEWHERE))
    assert renames(TrainConfig, ())["max_seq_len"] == Renamed("seq_length", is_old=True)
    assert renames(TrainConfig, ("model_spec",))["d_ff"] == Renamed("dim_feedforward", is_old=True)
    assert renames(SearchConfig, ("overrides", "training_spec"))["lr"] == Renamed("learning_rate", is_old=True)
    assert renames(SearchConfig, ("sections", "quick"))["trials"] == Renamed("n_samples", is_old=True)
    assert not renames(TrainConfig, ("user",))


def test_a_config_of_the_first_version_reads_as_one_of_today(tmp_path: Path) -> None:
    old = write(
        tmp_path,
        "project_path: .\nddconfig_path: m.json\nmodel_name: first\ntarget_columns: [item]\n"
        "selected_columns: [item, price]\nmodel_spec:\n  d_model: 64\n  nhead: 8\n  d_hid: 32\n  nlayers: 2\n"
        "  d_model_by_column: {item: 32, price: 32}\n  inference_size: 2\n"
        "training_spec:\n  lr: 0.01\n  iter_save: 5\n  scheduler_step_iter: batch\n",
        "old.yaml",
    )
    new = write(
        tmp_path,
        RUN + "input_columns: [item, price]\nmodel_spec:\n  dim_model: 64\n  n_head: 8\n  dim_feedforward: 32\n"
        "  num_layers: 2\n  feature_embedding_dims: {item: 32, price: 32}\n  prediction_length: 2\n"
        "training_spec: {learning_rate: 0.01, save_interval_epochs: 5, scheduler_step_on: batch}\n",
        "new.yaml",
    )
    loaded = load(TrainConfig, old)
    assert loaded.config == load(TrainConfig, new).config
    assert [str(note) for note in loaded.notes[:4]] == [
        f"{old}:1: `project_path`: is called `project_root` now\n    fix: write `project_root`",
        f"{old}:2: `ddconfig_path`: is called `metadata_config_path` now\n    fix: write `metadata_config_path`",
        f"{old}:5: `selected_columns`: is called `input_columns` now\n    fix: write `input_columns`",
        f"{old}:7: `model_spec.d_model`: is called `dim_model` now\n    fix: write `dim_model`",
    ]
    assert len(loaded.notes) == 12
    assert load(TrainConfig, new).notes == ()


def test_a_search_and_its_sections_and_overrides_take_old_names(tmp_path: Path) -> None:
    write(tmp_path, RUN + "model_spec: {nlayers: 2}\n", "base.yaml")
    path = write(
        tmp_path,
        "name: s\nmethod: grid\nbase_config_path: base.yaml\n"
        "overrides:\n  model_spec: {d_model: [32, 64], nhead: 4}\n  training_spec: {lr: [0.1, 0.01]}\n"
        "sections: {quick: {overrides: {training_spec: {lr: 0.5}}}}\n",
    )
    loaded = load(SearchConfig, path)
    assert loaded.config.hp_search_name == "s"
    assert loaded.config.searched("dim_model") == [32, 64]
    assert loaded.config.searched("num_layers") == [2]
    assert loaded.config.searched("learning_rate") == [0.1, 0.01]
    assert load(SearchConfig, path, section="quick").config.searched("learning_rate") == [0.5]
    assert {note.source.rpartition("/")[2] for note in loaded.notes} >= {"base.yaml:4", "config.yaml:1"}


def test_names_of_version_3_with_one_meaning_are_read(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "model_path: m.onnx\ncontext_length: 8\ndeterministic: true\ndecode_categories: false\nautoregressive: true\n",
    )
    config = load(InferConfig, path).config
    assert (config.seq_length, config.enforce_determinism, config.map_to_id, config.autoregression) == (
        *(8, True),
        *(False, True),
    )
    path = write(tmp_path, "preprocessing_data_path: d.csv\nseq_length: 8\ncolumn_data_types: {price: real}\n")
    assert load(PreprocessConfig, path).config.column_types == {"price": "real"}


def test_an_old_name_on_the_command_line_is_read_too(tmp_path: Path) -> None:
    loaded = load(TrainConfig, write(tmp_path, RUN), defines=["training_spec.lr=0.5", "model_spec.nlayers=1"])
    assert (loaded.config.training_spec.learning_rate, loaded.config.model_spec.num_layers) == (0.5, 1)
    assert "write -D training_spec.learning_rate=..." in str(loaded.notes[0])


def test_the_stronger_source_wins_whichever_name_it_uses(tmp_path: Path) -> None:
    write(tmp_path, RUN + "training_spec: {lr: 0.1, epochs: 2}\n", "base.yaml")
    path = write(tmp_path, "base_config_path: base.yaml\ntraining_spec: {learning_rate: 0.2}\n")
    assert load(TrainConfig, path).config.training_spec.learning_rate == 0.2
    path = write(tmp_path, RUN + "training_spec: {learning_rate: 0.2}\n")
    assert load(TrainConfig, path, defines=["training_spec.lr=0.3"]).config.training_spec.learning_rate == 0.3


def test_an_error_in_a_renamed_key_names_it_as_it_is_written(tmp_path: Path) -> None:
    path = write(tmp_path, RUN + "training_spec: {lr: fast}\n")
    with pytest.raises(ConfigError) as caught:
        load(TrainConfig, path)
    assert f"{path}:4: `training_spec.lr`: should be a number, got 'fast'" in str(caught.value)


def test_keys_without_effect_are_reported_once(tmp_path: Path) -> None:
    path = write(tmp_path, RUN + "n_classes: {item: 3}\ntraining_spec:\n  num_workers: 4\n  backend: nccl\n")
    (note,) = load(TrainConfig, path).notes
    keys = "`n_classes`, `training_spec.num_workers`, `training_spec.backend`"
    assert str(note) == f"{path}:4, 6, 7: {keys} have no effect and may be left out"


def test_a_null_or_the_default_of_a_key_without_effect_is_no_news(tmp_path: Path) -> None:
    path = write(tmp_path, RUN + "n_classes: null\ntraining_spec: {num_workers: 0}\n")
    assert load(TrainConfig, path).notes == ()
