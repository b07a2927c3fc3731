"""Greedy generation for prompts of different lengths, side by side."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sgg_ray.models.task_model import is_sharded


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
    ends = end_tokens(backbone, tokenizer)
    result = np.full((len(prompts), most), tokenizer.pad_token_id, dtype=np.int64)
    with torch.no_grad(), autocast:
        if not has_virtual_tokens(backbone):
            answers = _padded(backbone, tokenizer.pad_token_id, ends, prompts, most, device)
            result[:, : answers.shape[1]] = answers.cpu().numpy()
            return result
        for rows in _of_one_length(prompts):
            ids = torch.from_numpy(np.stack([prompts[row] for row in rows]).astype(np.int64)).to(device)
            answers = _unpadded(backbone, tokenizer.pad_token_id, ends, ids, most)
            result[rows, : answers.shape[1]] = answers.cpu().numpy()
    return result


def _padded(
    backbone: Any, pad: int, ends: list[int], prompts: Sequence[np.ndarray], most: int, device: torch.device
) -> Tensor:
    """New tokens [n, ≤ most], with a cache."""
    width = max(map(len, prompts))
    ids = np.full((len(prompts), width), pad, dtype=np.int64)
    mask = np.zeros((len(prompts), width), dtype=np.int64)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = prompt
        mask[row, width - len(prompt) :] = 1
    # Where parameters are gathered for every pass, no worker may stop before the others.
    together = is_sharded(backbone)
    found = backbone.generate(
        input_ids=torch.from_numpy(ids).to(device),
        attention_mask=torch.from_numpy(mask).to(device),
        generation_config=_settings(pad, ends, most),
        synced_gpus=together,
    )
    return found[:, width:]


def _settings(pad: int, ends: list[int], most: int, start: int | None = None) -> Any:
    from transformers import GenerationConfig

    return GenerationConfig(
        max_new_tokens=most,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        pad_token_id=pad,
        eos_token_id=ends,
        decoder_start_token_id=start,
        use_cache=True,
    )


def greedy_answers(
    backbone: Any,
    tokenizer: Any,
    prompts: tuple[Tensor, Tensor],
    start: int,
    most: int,
    autocast: AbstractContextManager,
) -> np.ndarray:
    """The same of an encoder-decoder model, whose encoder sees the prompts once: ids [n, most].

    Args:
        backbone: an encoder-decoder model of Transformers or PEFT, in evaluation mode.
        prompts: token ids and mask [n, T] on the model's device, padded on the right.
        start: the token that an answer begins behind; it is no part of it.
        most: new tokens.
        autocast: that the model computes in.
    """
    ids, mask = prompts
    settings = _settings(tokenizer.pad_token_id, end_tokens(backbone, tokenizer), most, start)
    with torch.no_grad(), autocast:
        found = backbone.generate(input_ids=ids, attention_mask=mask, generation_config=settings)[:, 1:]
    result = np.full((len(ids), most), tokenizer.pad_token_id, dtype=np.int64)
    result[:, : found.shape[1]] = found.cpu().numpy()
    return result


def _unpadded(backbone: Any, pad: int, ends: list[int], ids: Tensor, most: int) -> Tensor:
    """New tokens [n, ≤ most] behind prompts of one length [n, T], without cache or padding.

    For virtual tokens before the prompts: PEFT 0.21 takes no positions then, and its generation with a cache says
    something else than its model.
    """
    start, stops = ids.shape[1], torch.tensor(ends, device=ids.device)
    ended = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    for _ in range(most):
        mask = torch.ones_like(ids)
        logits = backbone(input_ids=ids, attention_mask=mask, logits_to_keep=1, use_cache=False).logits
        token = logits[:, -1].argmax(-1).masked_fill(ended, pad)
        ids = torch.cat([ids, token[:, None]], dim=1)
        ended |= torch.isin(token, stops)
        if ended.all():
            break
    return ids[:, start:]


def _of_one_length(prompts: Sequence[np.ndarray]) -> list[list[int]]:
    """Rows whose prompts are equally long, for each length."""
    by_length: dict[int, list[int]] = {}
    for row, prompt in enumerate(prompts):
        by_length.setdefault(len(prompt), []).append(row)
    return list(by_length.values())


def has_virtual_tokens(backbone: Any) -> bool:
    """Whether an adapter puts virtual tokens before a prompt."""
    adapters = getattr(backbone, "peft_config", {})
    return any(adapter.is_prompt_learning for adapter in adapters.values())


def end_tokens(backbone: Any, tokenizer: Any) -> list[int]:
    """What ends an answer: the tokenizer's own end, which answers are trained with, and others that the model has."""
    own = getattr(getattr(backbone, "generation_config", None), "eos_token_id", None)
    others = own if isinstance(own, list) else [] if own is None else [own]
    return list(dict.fromkeys([tokenizer.eos_token_id, *others]))
