import pytest
import torch
from torch import nn

from sgg_ray.errors import ModelError
from sgg_ray.gradients import FlatParameters


def _model() -> nn.Module:
    torch.manual_seed(0)
    middle = nn.Linear(4, 4, bias=False)
    middle.weight = nn.Parameter(middle.weight[:, :4].clone())
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), middle, nn.Linear(4, 3))


def test_model_computes_the_same_and_gradients_land_in_the_buffer():
    model, inputs = _model(), torch.randn(5, 3)
    expected = model(inputs)
    plain = torch.autograd.grad(expected.square().sum(), list(model.parameters()))
    flat = FlatParameters(model.named_parameters())
    outputs = model(inputs)
    assert torch.equal(outputs, expected)
    outputs.square().sum().backward()
    assert torch.equal(flat.gradient, torch.cat([part.flatten() for part in plain]))


def test_tied_parameters_count_once_and_order_is_kept():
    first, second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3)
    second.weight = first.weight
    model = nn.ModuleList([first, second])
    named = list(model.named_parameters(remove_duplicate=False))[::-1]
    flat = FlatParameters(named)
    assert flat.names == ("1.bias", "1.weight")
    assert flat.size == 12
    flat.values.fill_(2.0)
    assert torch.all(first.weight == 2)
    assert torch.all(second.weight == 2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_becomes_float32(dtype: torch.dtype):
    model = nn.Linear(3, 2).to(dtype)
    flat = FlatParameters(model.named_parameters())
    assert flat.values.dtype == model.weight.dtype == torch.float32
    model(torch.randn(2, 3)).sum().backward()
    assert flat.gradient.abs().sum() > 0


def test_double_precision_stays():
    assert FlatParameters(nn.Linear(2, 2).double().named_parameters()).values.dtype == torch.float64


def test_nothing_trainable_is_an_error():
    with pytest.raises(ModelError, match="no trainable parameter"):
        FlatParameters([])


def test_optimiser_on_slices_equals_optimiser_on_parameters():
    inputs = torch.randn(5, 3)
    model, twin = _model(), _model()
    flat = FlatParameters(model.named_parameters())
    middle = flat.slices["2.weight"].stop
    pieces = [flat.parameter(slice(0, middle)), flat.parameter(slice(middle, flat.size))]
    optimiser = torch.optim.AdamW(pieces, lr=0.1)
    reference = torch.optim.AdamW(twin.parameters(), lr=0.1)
    for _ in range(3):
        flat.zero_gradient()
        model(inputs).square().sum().backward()
        optimiser.step()
        reference.zero_grad()
        twin(inputs).square().sum().backward()
        reference.step()
    for mine, theirs in zip(model.parameters(), twin.parameters()):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-7)


def test_views_are_restored_after_zero_grad():
    model, inputs = _model(), torch.randn(5, 3)
    flat = FlatParameters(model.named_parameters())
    model(inputs).square().sum().backward()
    expected = flat.gradient.clone()
    flat.gradient.zero_()
    model.zero_grad(set_to_none=True)
    model(inputs).square().sum().backward()
    flat.restore_views()
    assert torch.equal(flat.gradient, expected)
    model(inputs).square().sum().backward()
    torch.testing.assert_close(flat.gradient, 2 * expected)


def test_replaced_values_are_used_and_taken_back_even_after_an_error():
    model, inputs = _model(), torch.randn(5, 3)
    flat = FlatParameters(model.named_parameters())
    before, outputs = flat.values.clone(), model(inputs)
    with flat.replaced(flat.views(torch.zeros(flat.size))):
        assert (model(inputs) == 0).all()
    with pytest.raises(RuntimeError), flat.replaced(flat.views(torch.zeros(flat.size))):
        model(torch.zeros(1, 999))
    assert torch.equal(flat.values, before)
    assert torch.equal(model(inputs), outputs)


def test_replaced_values_are_used_inside_an_open_autocast_context():
    model, inputs = _model(), torch.randn(5, 3)
    flat = FlatParameters(model.named_parameters())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        before = model(inputs)
        with flat.replaced(flat.views(torch.zeros(flat.size))):
            assert (model(inputs) == 0).all()
        assert torch.equal(model(inputs), before)
