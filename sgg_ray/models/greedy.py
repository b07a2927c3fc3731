"""Greedy generation for prompts of different lengths, side by side."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch


def greedy(
    backbone: Any,
    tokenizer: Any,
    prompts: Sequence[np.ndarray],
    most: int,
    autocast: AbstractContextManager,
    device: torch.device,
) -> np.ndarray:
    """The most likely continuation of each prompt, token by token: ids [n, most], padded behind the end of an answer.

    Prompts are padded on the left, so that all answers begin at the same place. Transformers counts positions from
    the attention mask, hence from each prompt's first real token: an answer is the same whatever stands beside it.
    The model's own generation settings (sampling, penalties) are left aside; its end tokens are heeded.

    Args:
        backbone: a causal language model of Transformers or PEFT, in evaluation mode.
        prompts: token ids, at least one prompt.
        most: new tokens.
        autocast: that the model computes in.
    """
    from transformers import GenerationConfig

    width = max(map(len, prompts))
    ids = np.full((len(prompts), width), tokenizer.pad_token_id, dtype=np.int64)
    mask = np.zeros((len(prompts), width), dtype=np.int64)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = prompt
        mask[row, width - len(prompt) :] = 1
    settings = GenerationConfig(
        max_new_tokens=most,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=end_tokens(backbone, tokenizer),
        use_cache=True,
    )
    with torch.no_grad(), autocast:
        found = backbone.generate(
            input_ids=torch.from_numpy(ids).to(device),
            attention_mask=torch.from_numpy(mask).to(device),
            generation_config=settings,
        )
    answers = found[:, width:].cpu().numpy()
    result = np.full((len(prompts), most), tokenizer.pad_token_id, dtype=np.int64)
    result[:, : answers.shape[1]] = answers
    return result


def end_tokens(backbone: Any, tokenizer: Any) -> list[int]:
    """What ends an answer: the tokenizer's own end, which answers are trained with, and others that the model has."""
    own = getattr(getattr(backbone, "generation_config", None), "eos_token_id", None)
    others = own if isinstance(own, list) else [] if own is None else [own]
    return list(dict.fromkeys([tokenizer.eos_token_id, *others]))
