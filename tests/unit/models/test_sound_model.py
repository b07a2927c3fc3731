"""A model whose weights were unpacked wrongly is refused; a sound one passes."""

from types import SimpleNamespace

import pytest
import torch

from sgg_ray.errors import ModelError
from sgg_ray.models.gguf import MOST_LOSS, SENTENCES, check_sound


class Bigrams:
    """Knows by heart which word follows which in the sentences, or takes each for the least likely."""

    def __init__(self, sign: float):
        self.words = sorted({word for sentence in SENTENCES for word in sentence.split()})
        self.sign = sign

    def __call__(self, sentence: str, return_tensors: str) -> dict[str, torch.Tensor]:
        return {"input_ids": torch.tensor([[self.words.index(word) for word in sentence.split()]])}

    def model(self, input_ids: torch.Tensor, labels: torch.Tensor) -> SimpleNamespace:
        right = torch.nn.functional.one_hot(labels[:, 1:], len(self.words)).float()
        logits = self.sign * 20 * right
        return SimpleNamespace(loss=torch.nn.functional.cross_entropy(logits[0], labels[0, 1:]))


def test_a_sound_model_passes():
    tokenizer = Bigrams(1.0)
    check_sound(tokenizer.model, tokenizer, "model.gguf")


@pytest.mark.parametrize("sign", [-1.0, float("nan")], ids=["wrong", "not finite"])
def test_one_that_came_out_wrong_is_refused(sign):
    tokenizer = Bigrams(sign)
    with pytest.raises(
        ModelError, match=rf"model.path: model.gguf comes out wrong .* sound is at most {MOST_LOSS:g}"
    ):
        check_sound(tokenizer.model, tokenizer, "model.gguf")
