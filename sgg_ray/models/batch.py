"""Tokenised tasks, and batches that may mix tasks with different heads."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from sgg_ray.models.word_ids import word_ids
from sgg_ray.tasks import Rows, Text, parts_of

PAD_TO_MULTIPLE = 8  # few distinct shapes: kernels, caches and the allocator are reused


@dataclass(frozen=True)
class TokenisedRows:
    """The rows of one task as token ids, made once; ``head`` names the label set that predicts them."""

    head: str
    ids: tuple[np.ndarray, ...]
    labels: np.ndarray
    pairs: bool = field(default=False, kw_only=True)  # of two segments each
    values: np.ndarray | None = field(default=None, kw_only=True)  # [n, W], see Rows
    weights: np.ndarray | None = field(
        default=None, kw_only=True
    )  # by which rows are drawn [n]; None: all alike

    def __len__(self) -> int:
        return len(self.ids)

    def length(self, row: int) -> int:
        """Tokens of a row, by which rows are put into batches."""
        return len(self.ids[row])


@dataclass(frozen=True)
class Batch:
    """Examples of one or more tasks. ``heads`` gives (head, number of consecutive examples)."""

    input_ids: Tensor  # [B, T]
    attention_mask: Tensor  # [B, T]
    labels: Tensor  # [B]
    heads: tuple[tuple[str, int], ...]
    pairs: bool = field(default=False, kw_only=True)  # some examples have two segments
    values: Tensor | None = field(default=None, kw_only=True)  # [B, most W], 0 where an example has none
    real_tokens: int = field(default=0, kw_only=True)  # without those that pad

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "Batch":
        """Copy to a device without waiting for the copy."""
        return Batch(
            self.input_ids.to(device, non_blocking=True),
            self.attention_mask.to(device, non_blocking=True),
            self.labels.to(device, non_blocking=True),
            self.heads,
            pairs=self.pairs,
            values=None if self.values is None else self.values.to(device, non_blocking=True),
            real_tokens=self.real_tokens,
        )


def collate(examples: Iterable[tuple[TokenisedRows, int]], pad_id: int) -> Batch:
    """Pad (rows, index) pairs on the right into one batch, examples of equal heads side by side.

    Args:
        examples: which row of which tokenised task; at least one.
        pad_id: the tokenizer's padding id.
    """
    ordered = sorted(examples, key=lambda example: example[0].head)
    input_ids, mask = padded([rows.ids[index] for rows, index in ordered], pad_id)
    counts: dict[str, int] = {}
    for rows, _ in ordered:
        counts[rows.head] = counts.get(rows.head, 0) + 1
    labels = np.array([rows.labels[index] for rows, index in ordered], dtype=np.int64)
    return Batch(
        input_ids,
        mask,
        torch.from_numpy(labels),
        tuple(counts.items()),
        pairs=any(rows.pairs for rows, _ in ordered),
        values=_values(ordered),
        real_tokens=int(mask.sum()),
    )


def padded(sequences: Sequence[np.ndarray], pad_id: int) -> tuple[Tensor, Tensor]:
    """Token ids of several sequences, padded on the right, and their mask: [B, T] each, T a multiple of
    PAD_TO_MULTIPLE."""
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    width = -(-int(lengths.max()) // PAD_TO_MULTIPLE) * PAD_TO_MULTIPLE
    real = np.arange(width) < lengths[:, None]
    ids = np.full(real.shape, pad_id, dtype=np.int64)
    ids[real] = np.concatenate(sequences)
    return torch.from_numpy(ids), torch.from_numpy(real.astype(np.int64))


def _values(examples: Sequence[tuple[TokenisedRows, int]]) -> Tensor | None:
    """What examples have in place of one label, side by side; None if none has."""
    widths = [0 if rows.values is None else rows.values.shape[1] for rows, _ in examples]
    if not any(widths):
        return None
    found = np.zeros((len(examples), max(widths)), dtype=np.float32)
    for place, ((rows, index), width) in enumerate(zip(examples, widths)):
        if rows.values is not None:
            found[place, :width] = rows.values[index]
    return torch.from_numpy(found)


def tokenise(
    tokenizer, rows: Rows, head: str, max_length: int, known: dict[Text, np.ndarray] | None = None
) -> TokenisedRows:
    """Turn texts into ids of at most ``max_length`` tokens, special tokens included.

    A special token's name inside a text, such as [SEP], is tokenised as the characters that it consists of. A text of
    two fields becomes a pair of segments, of which the longer one is cut.

    Args:
        known: ids by text, all of this ``max_length``: what it holds is taken, what it lacks is added.
    """
    known = {} if known is None else known
    new = list(dict.fromkeys(text for text in rows.texts if text not in known))
    for group in (
        [text for text in new if isinstance(text, str)],
        [text for text in new if not isinstance(text, str)],
    ):
        if group:
            segments = [list(part) for part in zip(*map(parts_of, group))]
            known.update(zip(group, _encoded(tokenizer, segments, max_length)))
    pairs = any(not isinstance(text, str) for text in rows.texts)
    ids = tuple(known[text] for text in rows.texts)
    return TokenisedRows(head, ids, rows.labels, pairs=pairs, values=rows.values, weights=rows.weights)


def _encoded(tokenizer, segments: list[list[str]], max_length: int) -> Iterator[np.ndarray]:
    """Token ids of each row of one or two segments.

    Transformers makes lists of all that a tokenizer could want to tell, which takes as long as the tokenising itself
    and holds Python's lock. So its settings are made, and the tokenizer behind it asked for the ids alone.
    """
    from transformers import PreTrainedTokenizerFast

    if getattr(type(tokenizer), "_encode_plus", None) is not PreTrainedTokenizerFast._encode_plus:
        encoded = tokenizer(
            *segments, truncation=True, max_length=max_length, padding=False, split_special_tokens=True
        )
        yield from (np.asarray(ids, dtype=np.int32) for ids in encoded["input_ids"])
        return
    words = word_ids(tokenizer) if len(segments) == 1 else None
    if words is None:
        yield from _whole(tokenizer, segments, max_length)
        return
    found = words.encode(segments[0], max_length)
    rest = [text for text, ids in zip(segments[0], found) if ids is None]
    others = _whole(tokenizer, [rest], max_length) if rest else iter(())
    yield from (next(others) if ids is None else ids for ids in found)


def _whole(tokenizer, segments: list[list[str]], max_length: int) -> Iterator[np.ndarray]:
    """Token ids of each row, of its segments as they are."""
    from transformers.tokenization_utils_base import TruncationStrategy
    from transformers.utils.generic import PaddingStrategy

    tokenizer.set_truncation_and_padding(
        padding_strategy=PaddingStrategy.DO_NOT_PAD,
        truncation_strategy=TruncationStrategy.LONGEST_FIRST,
        max_length=max_length,
        stride=0,
        pad_to_multiple_of=None,
        padding_side=None,
    )
    tokenizer.backend_tokenizer.encode_special_tokens = True
    rows = segments[0] if len(segments) == 1 else list(zip(*segments))
    return (np.array(row.ids, dtype=np.int32) for row in tokenizer.backend_tokenizer.encode_batch_fast(rows))


def batches_by_length(rows: TokenisedRows, size: int, indices: Sequence[int] | np.ndarray | None = None):
    """Yield index arrays of at most ``size`` rows of similar length, so that little is padded."""
    chosen = np.arange(len(rows)) if indices is None else np.asarray(indices)
    lengths = np.array([rows.length(int(index)) for index in chosen])
    ordered = chosen[np.argsort(lengths, kind="stable")]
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]
