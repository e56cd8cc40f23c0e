"""Fields of `training_spec`: how a training is computed: resuming, memory, number formats, devices."""

from typing import Literal

from pydantic import Field

from sequifier.config.base import StrictModel, about

LayerKind = Literal["linear", "decoder", "embedding", "norm"]
Format = Literal["float32", "bfloat16", "float16"]

ENOUGH_NUMBERS = 100_000
"""Numbers of a batch below which converting to bfloat16 costs more than a processor's matrix unit saves. Speed of
bfloat16 relative to float32: 0.88 at 49,000 numbers (width 64, 16 windows of 48), 1.11 at 74,000, 1.17 at 197,000."""

ENOUGH_WIDTH = 256
"""Model width from which bfloat16 is the default on CUDA. The step of a narrower model waits for the launch of its
kernels, to which every conversion adds; no GPU has measured this yet."""

ONE_DEVICE = (
    "one run trains on one device, because models of this size fit on one; a search trains several runs at the same "
    "time (its field `execution`)"
)
"""Why a run is not shared by several devices."""


class ComputationFields(StrictModel):
    """How a training is computed."""

    continue_training: bool = Field(
        True,
        description="Whether an unfinished run of this name resumes from its newest checkpoint.",
        json_schema_extra=about(
            interacts="--resume and --no-resume, which take precedence",
            change="to false to train from the beginning each time",
            outside_identity=True,
            may_differ_on_resume=True,
            synonyms="resume resume_training resume_from_checkpoint",
        ),
    )
    enforce_determinism: bool = Field(
        False,
        description="Whether to use deterministic algorithms only, also where they are slower (GPU).",
        json_schema_extra=about(
            interacts="seed and device: on a CPU results repeat in any case",
            change="to true when two runs on a GPU must have equal results",
            searchable=True,
            synonyms="deterministic reproducible reproducibility use_deterministic_algorithms",
        ),
    )
    num_workers: int = Field(
        0,
        ge=0,
        le=1024,
        description="Accepted without effect: batches are gathered on the device.",
        json_schema_extra=about(
            unused=True,
            outside_identity=True,
            may_differ_on_resume=True,
            synonyms="workers dataloader_num_workers dataloader_workers",
        ),
    )
    load_full_data_to_ram: bool = Field(
        True,
        description="Whether to hold the splits in memory; false: they are mapped from disk, Arrow files as they "
        "are, others after being converted once to a file beside them. The results are the same.",
        json_schema_extra=about(
            interacts="max_ram_gb",
            change="to false when the data are larger than memory",
            outside_identity=True,
            may_differ_on_resume=True,
            synonyms="in_memory memmap mmap memory_map streaming",
        ),
    )
    max_ram_gb: float | None = Field(
        None,
        gt=0,
        description="Maximum memory for the splits; larger ones are mapped from disk; null: no limit.",
        json_schema_extra=about(
            unit="gigabytes",
            interacts="load_full_data_to_ram: when it is false there is nothing to limit",
            change="when other programs need the memory",
            outside_identity=True,
            may_differ_on_resume=True,
            synonyms="memory_limit max_memory ram",
        ),
    )
    layer_type_dtypes: dict[LayerKind, Format] | None = Field(
        None,
        description="Number format in which layers compute during training, by kind of layer: `linear`, and `decoder` "
        "(the layers that predict; left out: as linear); null: chosen by the device. Weights, embeddings, norms, "
        "losses, validation and exported models are float32. The device's choice is bfloat16 for linear layers and "
        "float32 for the decoder on a GPU that supports it when dim_model is 256 or more, and on a CPU with a matrix "
        "unit for it (AMX) when a batch has 100,000 numbers or more (batch_size x seq_length x dim_model); else "
        "float32.",
        json_schema_extra=about(
            interacts="layer_autocast",
            change="to `{}` for float32 everywhere, to `{linear: bfloat16}` for bfloat16 everywhere",
            searchable=True,
            synonyms="precision dtype torch_dtype fp16 bf16 half mixed_precision amp autocast",
        ),
    )
    layer_autocast: bool = Field(
        True,
        description="Whether to use mixed precision by default where it is faster (see layer_type_dtypes); false: "
        "float32.",
        json_schema_extra=about(
            interacts="layer_type_dtypes, which takes precedence",
            change="to false to compare with runs in float32",
            searchable=True,
        ),
    )
    torch_compile: Literal["auto", True, False] = Field(
        "auto",
        description="Whether to compile the blocks of the model, which takes 10 to 40 s and a C++ compiler (on a GPU "
        "Triton and a C compiler). `auto`: on a CPU with a compiler, when the run is long enough to repay it.",
        json_schema_extra=about(
            interacts="device; results agree to rounding",
            change="to true for long runs on a GPU",
            synonyms="compile jit",
        ),
    )
    distributed: bool = Field(
        False,
        description="Whether one run trains on several devices.",
        json_schema_extra=about(
            interacts="data_parallelism and world_size",
            change="only if a later version trains one run on several devices",
            refused=ONE_DEVICE,
            synonyms="ddp multi_gpu num_gpus",
        ),
    )
    data_parallelism: Literal["DDP", "FSDP"] | None = Field(
        None,
        description="How several devices share the work of one run.",
        json_schema_extra=about(
            interacts="distributed",
            change="only if a later version trains one run on several devices",
            refused=ONE_DEVICE,
        ),
    )
    world_size: int = Field(
        1,
        gt=0,
        description="Number of devices that train one run.",
        json_schema_extra=about(
            unit="devices",
            interacts="distributed",
            change="only if a later version trains one run on several devices",
            refused=ONE_DEVICE,
        ),
    )
    backend: str | None = Field(
        None,
        description="Accepted without effect: communication between devices.",
        json_schema_extra=about(unused=True, outside_identity=True),
    )
    device_max_concat_length: int | None = Field(
        None,
        description="Accepted without effect (a field of Sequifier 1, the earlier release).",
        json_schema_extra=about(unused=True, outside_identity=True),
    )
