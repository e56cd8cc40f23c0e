"""A character-level model of Shakespeare: loss and characters per second beside a plain loop over a nanoGPT.

The text is Karpathy's tinyshakespeare (1,115,394 characters; the first nine tenths train). Known settings: 4 layers, 4
heads, width 128, windows of 64 characters, 12 of them in a batch, 2,000 steps of AdamW (learning rate 1e-3, falling to
1e-4 along a cosine after 100 steps of warm-up, second beta 0.99, weight decay 0.1, gradients clipped at 1), no dropout.
The known mark of that, nanoGPT's readme, is a validation loss of about 1.88.

Ours is trained by `sequifier preprocess` and `sequifier train` on the file itself, with a SwiGLU of as many weights as
nanoGPT's feed-forward part (2/3 of its width). Its loss is given twice: over windows of their own, as nanoGPT's is, in
which a character has 32 others before it on average; and as we validate by default, where each has 32 to 63.

    python benchmarks/tinyshakespeare.py input.txt [--steps 2000]
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from sequifier.training.threads import set_threads

STEPS, BATCH, LAYERS, HEADS, WIDTH = 64, 12, 4, 4, 128
RATE, LOWEST_RATE, WARMUP = 1e-3, 1e-4, 100
BETAS, DECAY, CLIP = (0.9, 0.99), 0.1, 1.0


def run(command: str, root: Path, values: dict[str, Any]) -> None:
    """A sequifier command with that config."""
    path = root / "configs" / f"{command}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(values))
    subprocess.run([sys.executable, "-m", "sequifier", command, "--quiet"], cwd=root, check=True)


def train_ours(root: Path, text: Path, n_steps: int, *, evaluation_context: str) -> dict[str, Any]:
    """The last entry of a run's metrics.jsonl."""
    model_name = f"shakespeare-{evaluation_context}"
    run(
        "train",
        root,
        {
            "metadata_config_path": f"configs/metadata_configs/{text.stem}.json",
            "model_name": model_name,
            "target_columns": ["char"],
            "window_stride": 1,
            "model_spec": {
                "dim_model": WIDTH,
                "n_head": HEADS,
                "num_layers": LAYERS,
                "dim_feedforward": round(8 / 3 * WIDTH),
            },
            "training_spec": {
                "epochs": 1,
                "max_steps": n_steps,
                "batch_size": BATCH,
                "learning_rate": RATE,
                "optimizer": {"name": "AdamW", "betas": list(BETAS), "weight_decay": DECAY},
                "scheduler": {"name": "CosineAnnealingLR", "T_max": "auto", "eta_min": LOWEST_RATE},
                "scheduler_step_on": "batch",
                "warmup_steps": WARMUP,
                "gradient_clip": CLIP,
                "evaluation_context": evaluation_context,
                "continue_training": False,
                "torch_compile": False,
            },
        },
    )
    lines = (root / "logs" / model_name / "latest/metrics.jsonl").read_text().splitlines()
    entry: dict[str, Any] = json.loads(lines[-1])
    return entry


class Block(nn.Module):
    """A block of nanoGPT."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(WIDTH, bias=False)
        self.feed_forward_norm = nn.LayerNorm(WIDTH, bias=False)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        B, T, D = x.shape
        q, k, v = self.qkv(self.attention_norm(x)).view(B, T, 3, HEADS, -1).permute(2, 0, 3, 1, 4).unbind()
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(B, T, D))
        return x + self.down(F.gelu(self.up(self.feed_forward_norm(x))))  # type: ignore[no-any-return]


class Model(nn.Module):
    """nanoGPT, its weights drawn as there."""

    def __init__(self, n_characters: int) -> None:
        super().__init__()
        self.characters, self.positions = nn.Embedding(n_characters, WIDTH), nn.Embedding(STEPS, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH, bias=False)
        self.head = nn.Linear(WIDTH, n_characters, bias=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                ends_branch = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(weight, std=0.02 / (math.sqrt(2 * LAYERS) if ends_branch else 1))
        self.head.weight = self.characters.weight

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) -> logits (B, T, characters)."""
        x = self.characters(ids) + self.positions.weight[: ids.shape[1]]
        return self.head(self.norm(self.blocks(x)))  # type: ignore[no-any-return]


def train_plain(text: str, n_steps: int) -> tuple[float, float]:
    """Validation loss over windows of their own, and characters per second, of a plain loop."""
    torch.manual_seed(1337)
    vocabulary = {character: number for number, character in enumerate(sorted(set(text)))}
    ids = torch.tensor([vocabulary[character] for character in text])
    cut = int(0.9 * len(ids))
    train, valid = ids[:cut], ids[cut:]
    model = Model(len(vocabulary))
    decayed = [weight for weight in model.parameters() if weight.dim() == 2]
    others = [weight for weight in model.parameters() if weight.dim() < 2]
    groups = [{"params": decayed, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=BETAS, fused=True)
    steps = torch.arange(STEPS)
    began = time.perf_counter()
    for step in range(n_steps):
        progress = max(0, step - WARMUP) / max(1, n_steps - WARMUP)
        rate = LOWEST_RATE + 0.5 * (1 + math.cos(math.pi * progress)) * (RATE - LOWEST_RATE)
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / WARMUP)
        rows = torch.randint(0, len(train) - STEPS, (BATCH, 1)) + steps
        loss = F.cross_entropy(model(train[rows]).flatten(0, 1), train[rows + 1].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
    speed = n_steps * BATCH * STEPS / (time.perf_counter() - began)
    n_windows = (len(valid) - 1) // STEPS
    inputs = valid[: n_windows * STEPS].view(n_windows, STEPS)
    targets = valid[1 : n_windows * STEPS + 1].view(n_windows, STEPS)
    with torch.inference_mode():
        losses = [
            F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="sum")
            for x, y in zip(inputs.split(256), targets.split(256), strict=True)
        ]
    return float(torch.stack(losses).sum()) / targets.numel(), speed


def main() -> None:
    """Print three lines."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("text", type=Path, help="the text, in UTF-8")
    options.add_argument("--steps", type=int, default=2000)
    given = options.parse_args()
    text = given.text.resolve()
    set_threads(None)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {given.steps} steps", flush=True)
    loss, speed = train_plain(text.read_text(encoding="utf-8"), given.steps)
    print(f"plain loop   validation loss {loss:.4f} over windows of their own, {speed:,.0f} characters/s", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        run(
            "preprocess",
            root,
            {"data_path": str(text), "read_format": "text", "seq_length": STEPS, "split_ratios": [0.9, 0.1]},
        )
        for context, what in (("split", "over windows of their own"), ("full", "as validated by default")):
            entry = train_ours(root, text, given.steps, evaluation_context=context)
            ours = given.steps * BATCH * STEPS / entry["seconds"]["training"]
            print(
                f"ours         validation loss {entry['val_loss']:.4f} {what}, {ours:,.0f} characters/s, "
                f"{ours / speed:.2f} x the plain loop",
                flush=True,
            )


if __name__ == "__main__":
    main()
