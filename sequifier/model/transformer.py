"""The whole model: a batch of windows in, predictions of each target out.

Shapes: B batch, T steps of the window, C categorical and R real columns, D model width.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import torch
from torch import Tensor, nn

from sequifier.model.attention import additive_mask, padding_mask, without_slow_kernels
from sequifier.model.block import Block
from sequifier.model.cpu.dropout import drop
from sequifier.model.cpu.fused import can_fuse, normed
from sequifier.model.cpu.switch import product_format
from sequifier.model.distributions.base import Distribution
from sequifier.model.embedding import EventEmbedding
from sequifier.model.heads import Decoder, Heads
from sequifier.model.known_future import Future, StepsToCome
from sequifier.model.norms import build_norm
from sequifier.model.positions import LearnedPositions, rotation_table
from sequifier.model.window_normalization import WindowNormalization, WindowScale

POSITIONAL_ENCODINGS = ("learned", "rope")
NO_SCALES: Mapping[str, WindowScale] = MappingProxyType({})


class Transformer(nn.Module):
    """A causal transformer over windows of events. `model.build.build_model` builds one from an architecture.

    A window is aligned on its last event and padded on the left. No step sees a later one or padding.

    Args:
        n_classes: classes of each categorical input column, id 0 included.
        n_real: number of real input columns.
        embedding_widths: width of each input column, the categorical ones first.
        target_classes: target name -> its classes, id 0 included; 0 for a real target.
        seq_length: the longest window, in events.
        dim_model: D.
        n_head: attention heads; divides dim_model.
        n_kv_heads: heads of keys and values; divides n_head.
        num_layers: blocks.
        dim_feedforward: hidden width of the feed-forward parts.
        joint_embedding: whether a linear layer mixes the column embeddings.
        activation_fn: a name in `model.activations`.
        normalization: a name in `model.norms`.
        norm_first: pre-norm, with a norm after the last block; otherwise post-norm.
        positional_encoding: learned or rope.
        rope_theta: base of rope's frequencies.
        dropout: fraction of numbers dropped, in the embedding, attention, feed-forward and residual branches alike.
        tied: target -> number of the categorical column whose embedding decodes it; other targets have a layer each.
        window_normalization: none, or a name in `model.window_normalization`.
        normalized: target that it is for -> number of its column among the real ones.
        horizon: H, number of steps ahead that are predicted after each step of the window.
        distributions: real target -> its distribution; other real targets have a value.
        known_classes: classes of each categorical column that is known at the steps to come, id 0 included.
        n_known_real: number of real columns that are known there.
    """

    def __init__(
        self,
        *,
        n_classes: Sequence[int],
        n_real: int,
        embedding_widths: Sequence[int],
        target_classes: Mapping[str, int],
        seq_length: int,
        dim_model: int,
        n_head: int,
        n_kv_heads: int,
        num_layers: int,
        dim_feedforward: int,
        joint_embedding: bool,
        activation_fn: str,
        normalization: str,
        norm_first: bool,
        positional_encoding: str,
        rope_theta: float,
        dropout: float,
        tied: Mapping[str, int] = MappingProxyType({}),
        window_normalization: str = "none",
        normalized: Mapping[str, int] = MappingProxyType({}),
        horizon: int = 1,
        distributions: Mapping[str, Distribution] = MappingProxyType({}),
        known_classes: Sequence[int] = (),
        n_known_real: int = 0,
    ) -> None:
        super().__init__()
        if positional_encoding not in POSITIONAL_ENCODINGS:
            raise ValueError(
                f"positional_encoding {positional_encoding!r} is not one of {', '.join(POSITIONAL_ENCODINGS)}"
            )
        self.seq_length = seq_length
        self.dropout = dropout
        self.normalization = WindowNormalization(window_normalization, normalized) if normalized else None
        self.embedding = EventEmbedding(
            n_classes=n_classes,
            n_real=n_real,
            embedding_widths=embedding_widths,
            dim_model=dim_model,
            joint=joint_embedding,
        )
        self.positions: nn.Module = nn.Identity()
        rotation = None
        if positional_encoding == "rope":
            rotation = rotation_table(steps=seq_length, head_width=dim_model // n_head, theta=rope_theta)
        else:
            self.positions = LearnedPositions(seq_length=seq_length, dim_model=dim_model)
        self.rotation: Tensor | None
        self.register_buffer("rotation", rotation, persistent=False)  # not a weight: no file stores it
        self.blocks = nn.ModuleList(
            Block(
                dim_model=dim_model,
                n_head=n_head,
                n_kv_heads=n_kv_heads,
                dim_feedforward=dim_feedforward,
                activation_fn=activation_fn,
                normalization=normalization,
                norm_first=norm_first,
                dropout=dropout,
            )
            for _ in range(num_layers)
        )
        # Post-norm blocks end with a norm already.
        self.norm = build_norm(normalization, dim_model) if norm_first else nn.Identity()
        self.tied = dict(tied)
        reads_steps = bool(known_classes) or n_known_real > 0
        self.heads = Heads(
            dim_model=dim_model,
            target_classes=target_classes,
            tied=tied,
            horizon=horizon,
            distributions=distributions,
            reads_steps=reads_steps,
        )
        self.steps_to_come = (
            StepsToCome(n_classes=known_classes, n_real=n_known_real, dim_model=dim_model) if reads_steps else None
        )
        self._compiled: list[Callable[..., Tensor]] = []
        self._compiled_batch = 0

    def forward(
        self, categories: Tensor, reals: Tensor, is_event: Tensor | None = None, *, n_last: int | None = None
    ) -> Tensor:
        """Turn the events of a batch into one vector per step, from which `predict` reads the next event.

        Args:
            categories: ids in column order, (B, T, C) int32 or int64; T at most seq_length.
            reals: standardised values in column order, (B, T, R) float32.
            is_event: (B, T) bool, False on left padding; None when the batch has no padding, which is faster.
            n_last: number of last steps to return; None for all.

        Returns:
            (B, T, D), or (B, n_last, D) where T is more. A row depends on its step and those before it alone, unless
            windows are normalized: then all depend on all steps, and only the last one predicts. Rows of padding carry
            no meaning.
        """
        steps = categories.shape[1]
        if steps > self.seq_length:
            raise ValueError(f"a window of {steps} steps in a model for seq_length {self.seq_length}")
        if self.normalization is not None:
            reals, _ = self.normalization(reals, is_event)
        x = self.positions(self.embedding(categories, reals))
        x = drop(x, self.dropout, training=self.training)
        mask = None if is_event is None else padding_mask(is_event)
        if mask is not None and mask.device.type == "cuda":
            mask = additive_mask(mask, product_format(x))
        rotation = None if self.rotation is None else self.rotation[:steps]
        n_last = None if n_last is None or n_last >= steps else n_last
        use_compiled = self.training and mask is None and len(x) == self._compiled_batch
        *blocks, last_block = self._compiled if use_compiled else self.blocks
        with without_slow_kernels(x):
            for block in blocks:
                x = block(x, mask, rotation)
            x = last_block(x, mask, rotation, n_last)
        hidden: Tensor = normed(x, self.norm) if can_fuse(self.norm, x) else self.norm(x)
        return hidden

    @property
    def is_compiled(self) -> bool:
        """Whether `compile_blocks` was called."""
        return bool(self._compiled)

    def compile_blocks(self, batch_size: int) -> None:
        """Compile the blocks for training batches of this number of full windows; all other batches run uncompiled.

        Another model of the same shape in this process uses the same code, and another process torch's cache on disk.
        """
        # torch's pool of compiling processes would outlive a search that is killed.
        torch._inductor.config.compile_threads = 1
        if hasattr(torch._inductor.config, "deterministic"):  # not in torch 2.6
            torch._inductor.config.deterministic = torch.are_deterministic_algorithms_enabled()
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)
        self._compiled = [torch.compile(block, dynamic=False) for block in self.blocks]
        self._compiled_batch = batch_size

    def window_scales(self, reals: Tensor, is_event: Tensor | None = None) -> dict[str, WindowScale]:
        """Return how predictions of normalized targets lead back to standardised values; arguments as of `forward`."""
        return {} if self.normalization is None else self.normalization(reals, is_event)[1]

    def decoders(
        self,
        hidden: Tensor,
        targets: Collection[str] | None = None,
        scales: Mapping[str, WindowScale] = NO_SCALES,
        future: Future | None = None,
    ) -> dict[str, Decoder]:
        """Return what predicts each target, before it is computed; arguments as of `predict`."""
        tied = {name: self.embedding.decoder(hidden, column) for name, column in self.tied.items()}
        steps = None
        if self.steps_to_come is not None:
            if future is None:
                raise ValueError("the model reads columns that are known at the steps to come: `decoders` needs them")
            steps = self.steps_to_come(hidden, future)
        found = self.heads(hidden, tied, steps)
        decoders = {name: decoder for name, decoder in found.items() if targets is None or name in targets}
        for name in decoders.keys() & (self.normalization.columns if self.normalization else {}):
            if name not in scales:
                raise ValueError(
                    f"the windows of target {name!r} are normalized: `decoders` needs their `window_scales`"
                )
            decoders[name] = replace(decoders[name], scale=scales[name])
        return decoders

    def predict(
        self,
        hidden: Tensor,
        targets: Collection[str] | None = None,
        scales: Mapping[str, WindowScale] = NO_SCALES,
        future: Future | None = None,
    ) -> dict[str, Tensor]:
        """Predict the next event after each step, or the label of the sequence.

        Args:
            hidden: (..., D), rows of `forward`; where windows are normalized, (B, ..., D) of their last steps.
            targets: which ones to predict; None: all.
            scales: what `window_scales` returns for the same windows.
            future: known columns at the steps after each row of `hidden`, where the model reads some.

        Returns:
            Target name -> (..., n_classes - 1) logits of classes 1, 2, ..., or (...,) standardised values, or (..., P)
            parameters of a distribution; with a horizon (..., H, n_classes - 1), (..., H) and (..., H, P).
        """
        return {name: decoder.prediction() for name, decoder in self.decoders(hidden, targets, scales, future).items()}
