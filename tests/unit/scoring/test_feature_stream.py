"""Features that are streamed are those of every row by itself, whatever the stretches and the lengths."""

import numpy as np
import pytest
import torch

from sgg_ray.models import build_model, token_processes
from sgg_ray.models.batch import padded, tokenise
from sgg_ray.models.token_processes import TokenProcesses
from sgg_ray.scoring import feature_stream
from sgg_ray.scoring.feature_stream import feature_stretches
from sgg_ray.tasks import Rows, load_tasks


@pytest.fixture
def model_and_source(make_config):
    config = make_config()
    target, (source, *_) = load_tasks(config)
    return build_model(config, [target]).eval(), source


def test_stretches_are_the_rows_one_by_one(model_and_source, monkeypatch):
    model, source = model_and_source
    monkeypatch.setattr(feature_stream, "BATCH_ROWS", 3)
    bounds = [(0, 7), (7, 8), (8, 30), (30, 32), (90, 97)]
    found = list(feature_stretches(model, source, bounds))
    tokens = model.tokenise(source, source.train)
    with torch.no_grad():
        alone = [model.features(model.collate([(tokens, row)]))[0].numpy() for row in range(97)]
    for (start, stop), own in zip(bounds, found, strict=True):
        np.testing.assert_allclose(own, np.stack(alone[start:stop]), atol=1e-5)


def test_processes_that_tokenise_change_nothing(model_and_source, monkeypatch):
    model, source = model_and_source
    monkeypatch.setattr(token_processes, "PIECE_ROWS", 7)
    tokens = TokenProcesses(model.tokenizer, model.max_length, 2)
    bounds = [(start, start + 10) for start in range(0, 100, 10)]
    found = list(feature_stretches(model, source, bounds, tokens.tokenise))
    for own, plain in zip(found, feature_stretches(model, source, bounds), strict=True):
        np.testing.assert_array_equal(own, plain)
    broken = Rows((None, "word1"), np.zeros(2, dtype=int))  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError):
        tokens.tokenise(source, broken)
    assert len(tokens.tokenise(source, source.train.take([]))) == 0
    tokens.close()


def test_stretches_are_grouped_for_a_gpu():
    bounds = [(0, 4), (4, 8), (8, 10), (20, 24)]
    assert list(feature_stream._groups(bounds, 6)) == [bounds[:2], bounds[2:]]
    assert list(feature_stream._groups(bounds, 1)) == [[one] for one in bounds]


def test_a_failure_while_rows_are_prepared_is_raised(model_and_source, monkeypatch):
    model, source = model_and_source

    def broken(task, rows):
        raise ValueError("no tokens")

    monkeypatch.setattr(model, "tokenise", broken)
    with pytest.raises(ValueError, match="no tokens"):
        list(feature_stretches(model, source, [(0, 4), (4, 8), (8, 12)]))


def test_batches_on_a_gpu_hold_so_many_tokens_and_every_row_once(model_and_source, monkeypatch):
    model, source = model_and_source
    tokens = model.tokenise(source, source.train)
    monkeypatch.setattr(feature_stream, "BATCH_ROWS", 2)
    monkeypatch.setattr(feature_stream, "BATCH_TOKENS", 100)
    batches = list(feature_stream.batches_of(tokens, on_gpu=True))
    assert sorted(np.concatenate(batches)) == list(range(len(tokens)))
    longest = [max(tokens.length(row) for row in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True)
    assert all(len(batch) * most <= 100 or len(batch) == 2 for batch, most in zip(batches, longest))


def test_ids_are_those_that_the_tokenizer_gives_by_itself(model_and_source):
    model, _ = model_and_source
    texts = ("word1 [SEP] word2", "", "word3 " * 40, ("word1", "word2 [CLS]"), ("word4 " * 9, ""))
    found = tokenise(model.tokenizer, Rows(texts, np.zeros(5, dtype=int)), "head", 8)
    for text, ids in zip(texts, found.ids, strict=True):
        fields = ([text],) if isinstance(text, str) else [[field] for field in text]
        told = model.tokenizer(*fields, truncation=True, max_length=8, split_special_tokens=True)
        assert ids.tolist() == told["input_ids"][0]


def test_padding():
    ids, mask = padded([np.array([5, 6, 7]), np.array([8]), np.array([], dtype=np.int32)], 9)
    assert ids.tolist() == [[5, 6, 7] + [9] * 5, [8] + [9] * 7, [9] * 8]
    assert mask.tolist() == [[1, 1, 1] + [0] * 5, [1] + [0] * 7, [0] * 8]
