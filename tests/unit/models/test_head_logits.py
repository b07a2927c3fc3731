"""Log-probabilities are those of the model's own logits, and logits are made only where they are read."""

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from sgg_ray.models import head_logits
from sgg_ray.models.head_logits import hidden_states_at, token_log_probabilities

WORDS = 50


def llama() -> torch.nn.Module:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=WORDS, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
        )
    )


def gemma() -> torch.nn.Module:
    """With a cap on logits behind the head."""
    config = Gemma2Config(
        vocab_size=WORDS, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, final_logit_softcapping=0.5, initializer_range=0.5,
    )  # fmt: skip
    return Gemma2ForCausalLM(config)


def gpt2() -> torch.nn.Module:
    return GPT2LMHeadModel(GPT2Config(vocab_size=WORDS, n_positions=32, n_embd=16, n_layer=2, n_head=2))


@pytest.fixture(params=[llama, gemma, gpt2], ids=lambda make: make.__name__)
def model(request) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return request.param().eval()


@pytest.fixture
def inputs() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(WORDS, (3, 8), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


AT = (torch.tensor([0, 0, 1, 2, 2]), torch.tensor([-1, -3, -2, -8, -1]))
SEATS = torch.tensor([[4, 1], [0, 0], [2, 3], [1, 4]])
TOKENS = torch.tensor([[7, 3], [9, 8], [0, 49], [5, 5]])


def found(model, inputs) -> torch.Tensor:
    return token_log_probabilities(
        model, hidden_states_at(model, model, inputs, AT), SEATS, TOKENS, SEATS.numpy()
    )


def expected(model, inputs) -> torch.Tensor:
    return model(**inputs).logits[AT].log_softmax(-1)[SEATS, TOKENS]


@pytest.mark.parametrize(
    "most", [1 << 24, 2 * WORDS, 1], ids=["at once", "two places at a time", "one at a time"]
)
def test_they_are_those_of_the_models_logits(model, inputs, most, monkeypatch):
    monkeypatch.setattr(head_logits, "MOST_LOGITS", most)
    torch.testing.assert_close(found(model, inputs), expected(model, inputs))
    parameters = list(model.parameters())
    mine, theirs = (
        torch.autograd.grad(
            (way(model, inputs) * torch.arange(1.0, 9).view(4, 2)).sum(), parameters, allow_unused=True
        )
        for way in (found, expected)
    )
    for one, other in zip(mine, theirs):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("most", [1 << 24, 2 * WORDS])
def test_no_more_logits_are_made_at_once_than_fit(model, inputs, most, monkeypatch):
    monkeypatch.setattr(head_logits, "MOST_LOGITS", most)
    sizes = []
    head = model.get_output_embeddings()
    hook = head.register_forward_hook(lambda _, __, logits: sizes.append(logits.numel()))
    with torch.no_grad():
        found(model, inputs)
    hook.remove()
    assert sizes.pop(0) == 1  # the pass itself makes none
    assert sum(sizes) == len(AT[0]) * WORDS
    assert max(sizes) <= most


def test_the_model_is_as_it_was(model, inputs):
    before = model(**inputs).logits
    found(model, inputs)
    assert not {"forward"} & set(vars(model.get_decoder())) | {"forward"} & set(
        vars(model.get_output_embeddings())
    )
    torch.testing.assert_close(model(**inputs).logits, before, rtol=0, atol=0)
