"""Memory of a training step over a large vocabulary: logits where they are scored, against logits at common places.

    python benchmarks/large_vocabulary.py                      # CPU: peak of the process
    python benchmarks/large_vocabulary.py --device cuda        # GPU: peak of the allocator

A decoder of Gemma-3-270M's width and vocabulary (random weights, few layers: the vocabulary is what costs) sees 16 rows
of up to 96 tokens whose prompts have different lengths. ``places`` is what Transformers' ``logits_to_keep`` needs: the
same positions of every row. ``seats`` is the product's way. Both losses are printed, since they have to be equal.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from sgg_ray.models.answer_batch import AnswerBatch, PromptedRows, collate_answers
from sgg_ray.models.head_logits import hidden_states_at, token_log_probabilities

VOCABULARY, WIDTH, LAYERS, ROWS, TOKENS = 262_144, 640, 2, 16, 96


def batch_of(kind: str, rng: np.random.Generator) -> AnswerBatch:
    """Rows with label words of one token each, or with completions of a third of the row."""
    lengths = rng.integers(TOKENS // 3, TOKENS - TOKENS // 3, ROWS)
    ids = tuple(rng.integers(3, VOCABULARY, length).astype(np.int32) for length in lengths)
    labels = np.zeros(ROWS, dtype=np.int64)
    if kind == "labels":
        return collate_answers(
            [(PromptedRows("a", ids, labels, ((5,), (6,))), row) for row in range(ROWS)], 0
        )
    own = tuple((tuple(rng.integers(3, VOCABULARY, TOKENS // 3).tolist()),) for _ in range(ROWS))
    return collate_answers([(PromptedRows("a", ids, labels, candidates=own), row) for row in range(ROWS)], 0)


def said_by(way: str, backbone: LlamaForCausalLM, batch: AnswerBatch) -> torch.Tensor:
    """log p of each answer's tokens [A, L]."""
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    if way == "seats":
        hidden = hidden_states_at(backbone, backbone, inputs, (batch.sequence, batch.place))
        return token_log_probabilities(backbone, hidden, batch.seats, batch.tokens, batch.on_host)
    kept, place = torch.unique(batch.place, return_inverse=True)
    seats = backbone(**inputs, use_cache=False, logits_to_keep=kept).logits[batch.sequence, place].float()
    return seats[batch.seats, batch.tokens] - seats.logsumexp(-1)[batch.seats]


def step(way: str, kind: str, device: str) -> dict[str, float]:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=LAYERS,
        num_attention_heads=8, num_key_value_heads=8, tie_word_embeddings=True,
    )  # fmt: skip
    backbone = LlamaForCausalLM(config).to(device)
    backbone.model.embed_tokens.weight.requires_grad_(False)  # as under LoRA
    batch = batch_of(kind, np.random.default_rng(0)).to(torch.device(device))
    before = _reset_peak(device)
    said = said_by(way, backbone, batch)
    loss = -(said * batch.real).sum() / batch.real.sum()
    loss.backward()
    return {"loss": loss.item(), "gib": (_peak(device) - before) / 2**30}


def _reset_peak(device: str) -> int:
    """Bytes in use now; the peak counts from here."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak becomes what is resident now
    return _peak(device)


def _peak(device: str) -> int:
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--one", nargs=2, metavar=("WAY", "KIND"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(step(*options.one, options.device)))
        return
    print("| rows | way | loss | GiB beside the model | share |\n|---|---|---|---|---|")
    for kind in ("labels", "completions"):
        found = {}
        for way in ("places", "seats"):
            command = [sys.executable, __file__, "--device", options.device, "--one", way, kind]
            found[way] = json.loads(
                subprocess.run(command, check=True, capture_output=True, text=True).stdout
            )
            share = found[way]["gib"] / found["places"]["gib"]
            print(
                f"| {kind} | {way} | {found[way]['loss']:.6f} | {found[way]['gib']:.2f} | {share:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
