"""`infer.yaml`: predictions from an exported model."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from sequifier.config.base import Columns, ColumnType, NameList, ProjectConfig, StrictModel, about


class Sampler(StrictModel):
    """How an event is drawn from the predicted distribution."""

    temperature: float = Field(1.0, ge=0, description="Divides the logits; 0 takes the most likely class.")
    top_k: int | None = Field(None, gt=0, description="Keep the k most likely classes.")
    top_p: float | None = Field(None, gt=0, le=1, description="Keep the smallest set of classes that reaches p.")
    min_p: float | None = Field(
        None, ge=0, le=1, description="Keep classes at least min_p times as likely as the best."
    )
    top_n_sigma: float | None = Field(None, gt=0, description="Keep logits within n standard deviations of the best.")
    seed: int | None = Field(None, ge=0, lt=2**63, description="Seed of the draws; null: the config's seed.")


def _zero_for_null(value: Any) -> Any:
    return 0 if value is None else value


class InferConfig(ProjectConfig):
    """What to predict, with which model, from which events. Everything the model file says may be left out."""

    metadata_config_path: str | None = Field(None, description="The metadata JSON; null: what the model file says.")
    model_path: Annotated[NameList, Field(min_length=1)] = Field(description="Exported model, or several.")
    model_type: Literal["generative", "embedding"] = Field(
        "generative",
        description="generative predicts the targets, embedding returns vectors.",
        json_schema_extra=about(interacts="an .onnx file is one of both, a .pt file does both"),
    )
    data_path: str | None = Field(
        None,
        description="Encoded events: a file or a folder of shards; null: split 2 of the metadata, else the last.",
        json_schema_extra=about(interacts="read_format: raw takes a table, or a folder of its files"),
    )
    training_config_path: str | None = Field(None, description="Accepted: the model file says what was trained.")
    read_format: Literal["parquet", "csv", "arrow", "pt", "raw"] | None = Field(
        None,
        description="Format of the events; null: by the file's ending. raw: CSV or Parquet that is not encoded yet: "
        "the model encodes it, and predicts the next event of each sequence.",
        json_schema_extra=about(not_yet=("pt",)),
    )
    write_format: Literal["csv", "parquet"] = Field("csv", description="Format of the predictions.")
    input_columns: Columns | None = Field(None, description="Accepted: the model file names its inputs.")
    target_columns: Columns | None = Field(None, description="Targets to write; null: all of the model.")
    column_types: dict[str, str] | None = Field(None, description="Accepted: from the model file.")
    target_column_types: dict[str, ColumnType] | None = Field(None, description="Accepted: from the model file.")
    output_probabilities: bool = Field(False, description="Write each categorical target's class probabilities too.")
    map_to_id: bool = Field(True, description="Write original labels instead of ids (categorical targets).")
    seed: int | None = Field(1010, ge=0, lt=2**63, description="Seed of everything drawn; null draws one.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="Where to predict.")
    seq_length: int | None = Field(None, gt=0, description="Accepted: fixed in the model.")
    prediction_length: int | None = Field(None, gt=0, description="Accepted: fixed in the model.")
    inference_batch_size: int | None = Field(
        None,
        gt=0,
        description="Windows per call; null: the model's.",
        json_schema_extra=about(unit="windows"),
    )
    enforce_determinism: bool = Field(False, description="Use deterministic algorithms only.")
    sample_from_distribution_columns: NameList | None = Field(
        None,
        description="Categorical targets to draw instead of taking the most likely class; null: all of them when a "
        "sampler is given, else none.",
        json_schema_extra=about(interacts="sampler says how"),
    )
    sampler: Sampler | str | None = Field(
        None,
        description="How to draw, or FILE[:name] of a sampler search's export; null: from the predicted probabilities.",
        json_schema_extra=about(interacts="sample_from_distribution_columns"),
    )
    infer_with_dropout: bool = Field(
        False,
        description="Keep dropout active (Monte Carlo dropout).",
        json_schema_extra=about(interacts="needs a .pt model that was trained with dropout"),
    )
    autoregression: bool = Field(
        False,
        description="Feed predictions back as inputs: from the first window of each sequence to its end.",
        json_schema_extra=about(interacts="needs a model whose inputs are all among its targets"),
    )
    autoregression_extra_steps: Annotated[int, BeforeValidator(_zero_for_null)] = Field(
        0,
        ge=0,
        description="Events to generate beyond the known ones.",
        json_schema_extra=about(unit="events", interacts="needs autoregression: true"),
    )
    evaluate: bool = Field(True, description="Where targets are known: print and save how good the predictions are.")
    evaluation_context: Literal["split", "full"] = Field(
        "split",
        description="split: windows of the split alone, as v1; full: each event once, with its history.",
    )
    distributed: bool = Field(False, description="Accepted and unused (v1).")
    world_size: int = Field(1, description="Accepted and unused (v1).")
    num_workers: int = Field(0, description="Accepted and unused (v1).")
    load_full_data_to_ram: bool = Field(True, description="Accepted and unused (v1).")
