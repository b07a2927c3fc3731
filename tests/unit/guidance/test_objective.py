import pytest
import torch
from oracle import Case, build_case

from sgg_ray.errors import ConfigError, ModelError
from sgg_ray.gradients import FlatParameters, Workspace
from sgg_ray.guidance import Guidance

MODES = ["finite_difference", "central_difference", "exact", "first_order"]
ALL = {"lambda_direction": 0.3, "lambda_magnitude": 0.2, "lambda_alignment": 0.4}


def _guidance(case: Case, **settings) -> Guidance:
    return Guidance(case.flat, private=case.private, shared=case.shared, **settings)


def _alone(tensor: torch.Tensor) -> None:
    """The sum over one worker."""


def _never():
    raise AssertionError("no second pass is due")


@pytest.mark.parametrize("mode", MODES)
def test_without_strength_the_gradient_stays_bit_for_bit(mode: str):
    case = build_case()
    guidance = _guidance(case, hvp=mode)
    plain = case.backward()
    for step in range(3):
        guidance.apply(step, _never, case.source, _alone)
        assert torch.equal(case.flat.gradient, plain)


@pytest.mark.parametrize("mode", MODES)
def test_parameters_stay_bit_for_bit(mode: str):
    case = build_case("bert")
    guidance = _guidance(case, hvp=mode, **ALL)
    values = case.flat.values.clone()
    for step in range(2):
        case.backward(step)
        guidance.apply(step, lambda step=step: case.losses(step=step), case.source, _alone)
    assert torch.equal(case.flat.values, values)
    case.flat.values.add_(1)  # and are still the ones that the modules compute with
    found = torch.cat([parameter.flatten() for parameter in case.flat.parameters])
    assert torch.equal(found, values + 1)


def test_parameters_that_only_sources_use_are_left_alone():
    case = build_case()
    extra = torch.nn.Parameter(torch.ones(7, dtype=torch.float64))
    named = [*case.model.named_parameters(), ("other", extra)]
    first = case.flat.size
    expected, _ = case.guide(hvp="exact", **ALL)
    flat = FlatParameters(sorted(named, key=lambda item: (*case.flat.names, "other").index(item[0])))
    source = torch.cat([case.source, torch.ones(7, dtype=torch.float64)])
    case.flat, case.source = flat, source
    case.reference = torch.cat([case.reference, torch.ones(7, dtype=torch.float64)])
    found, _ = case.guide(hvp="exact", **ALL)
    torch.testing.assert_close(found[:first], expected)
    assert (found[first:] == 0).all()


def test_every_nth_step_is_guided_n_times_as_strongly():
    case = build_case()
    plain = case.backward()
    always, _ = case.guide(hvp="exact", **ALL)
    guidance = case.guidance(hvp="exact", interval=3, **ALL)
    for step in range(3):
        case.backward()
        losses = case.losses if step == 2 else _never
        guidance.apply(step, losses, case.source, _alone)
        if step < 2:
            assert torch.equal(case.flat.gradient, plain)
    torch.testing.assert_close(case.flat.gradient - plain, 3 * (always - plain))


def test_strength_rises_linearly():
    case = build_case()
    plain = case.backward()
    full, _ = case.guide(hvp="exact", lambda_magnitude=0.2)
    guidance = _guidance(case, hvp="exact", lambda_magnitude=0.2, warmup_steps=4)
    for step, share in enumerate((0.25, 0.5, 0.75, 1.0, 1.0)):
        case.backward()
        guidance.apply(step, case.losses, None, _alone)
        torch.testing.assert_close(case.flat.gradient - plain, share * (full - plain))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_harms_nothing(mode: str, bad: float):
    case = build_case()
    guidance = _guidance(case, hvp=mode, **ALL)
    for step in range(2):
        case.backward(step)
        guidance.apply(step, case.losses, case.source, _alone)
    before = {name: value.clone() for name, value in guidance.state_dict().items()}
    values = case.flat.values.clone()
    case.backward()
    case.flat.gradient[3] = bad
    guidance.apply(2, case.losses, case.source, _alone)
    assert not torch.isfinite(case.flat.gradient.sum())
    assert torch.equal(case.flat.values, values)
    for name, value in guidance.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_one_abnormal_gradient_does_not_take_the_memory_over():
    case = build_case()
    guidance = _guidance(case, **ALL)
    for step in range(4):
        case.backward(step)
        if step == 3:
            case.flat.gradient.mul_(1e6)
        assert guidance.reference is not None
        reference, mean = guidance.reference.clone(), guidance.norms.means[0].clone()
        guidance.apply(step, lambda step=step: case.losses(step=step), case.source, _alone)
    assert guidance.reference.sub(0.9 * reference).norm() < 0.1 + 1e-9
    assert guidance.norms.means[0] < 4 * mean
    assert torch.isfinite(case.flat.gradient).all()


def test_the_reference_is_a_mean_of_unit_gradients():
    case = build_case()
    guidance = _guidance(case, lambda_direction=0.3, gradient_floor=0.0)
    expected = torch.zeros_like(case.flat.values)
    for step in range(3):
        plain = case.backward(step)
        guidance.apply(step, lambda step=step: case.losses(step=step), None, _alone)
        expected = 0.9 * expected + 0.1 * plain / plain.norm()
    torch.testing.assert_close(guidance.reference, expected)


def test_first_order_pulls_towards_the_references_and_never_lengthens():
    case = build_case()
    plain = case.backward()
    found, metrics = case.guide(hvp="first_order", lambda_direction=0.5, lambda_alignment=0.5)
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(found, case.reference, dim=0) > cosine(plain, case.reference, dim=0)
    shared = case.shared
    assert cosine(found[shared], case.source[shared], dim=0) > cosine(
        plain[shared], case.source[shared], dim=0
    )
    assert found.norm() <= plain.norm() * (1 + 1e-9)
    assert "hvp_ratio" not in metrics


@pytest.mark.parametrize("mode", ["finite_difference", "first_order"])  # the latter keeps a median
def test_continuing_from_a_state_is_the_same_as_not_stopping(mode: str):
    first, second = build_case(), build_case()
    settings = {"hvp": mode, "fd_relative_change": 1e-4, **ALL}
    whole, part = _guidance(first, **settings), _guidance(first, **settings)
    for step in range(4):
        first.backward(step)
        whole.apply(step, lambda step=step: first.losses(step=step), first.source, _alone)
    for step in range(2):
        first.backward(step)
        part.apply(step, lambda step=step: first.losses(step=step), first.source, _alone)
    resumed = _guidance(second, **settings)
    resumed.load_state_dict({name: value.clone() for name, value in part.state_dict().items()})
    for step in range(2, 4):
        second.backward(step)
        resumed.apply(step, lambda step=step: second.losses(step=step), second.source, _alone)
    assert torch.equal(resumed.reference, whole.reference)
    assert torch.equal(resumed.norms.recent, whole.norms.recent)


def test_a_state_of_another_model_is_refused():
    case = build_case()
    state = dict(_guidance(case, lambda_direction=0.1).state_dict())
    state["reference"] = state["reference"][:-1]
    with pytest.raises(ModelError, match="'reference' has shape"):
        _guidance(case, lambda_direction=0.1).load_state_dict(state)


def test_all_wrong_settings_are_named_at_once():
    case = build_case()
    with pytest.raises(ConfigError) as caught:
        _guidance(case, fd_relative_change=0.0, lambda_direction=-1.0, interval=0, hvp="magic")
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "guidance.lambda_direction",
        "guidance.hvp",
        "guidance.fd_relative_change",
        "guidance.interval",
    ]


@pytest.mark.parametrize("mode", ["finite_difference", "central_difference"])
@pytest.mark.parametrize("radius", [0.02, 0.2])
def test_the_distance_finds_the_asked_change_of_the_gradient(mode: str, radius: float):
    case = build_case("bert", dropout=0.0)
    plain = case.backward()
    guidance = _guidance(case, hvp=mode, fd_relative_change=radius, lambda_magnitude=0.2)
    for first in (1e-6, 1e2):
        guidance.difference.step.fill_(first)
        for step in range(30):
            case.backward()
            guidance.apply(step, case.losses, None, _alone)
        workspace = Workspace(case.flat, case.flat.size)
        torch.add(
            case.flat.values,
            plain / plain.norm(),
            alpha=guidance.difference.step.item(),
            out=workspace.buffer,
        )
        with case.flat.replaced(workspace.views):
            moved = case.backward()
        assert (moved - plain).norm() / plain.norm() == pytest.approx(radius, rel=0.3)


@pytest.mark.parametrize("mode", ["finite_difference", "central_difference", "exact"])
@pytest.mark.parametrize("every", [1, 2])
def test_a_limit_shortens_the_product_and_turns_nothing(mode: str, every: int):
    def last(limit: float | None) -> tuple[torch.Tensor, float]:
        case = build_case("bert", dropout=0.0)
        guidance = _guidance(
            case, hvp=mode, fd_relative_change=0.01, lambda_magnitude=5.0, max_hvp_ratio=limit, interval=every
        )
        for step in range(40):
            plain = case.backward()
            metrics = guidance.apply(step, case.losses, None, _alone)
        return case.flat.gradient - plain, metrics["hvp_ratio"].item()

    free, wide = last(None)
    product, ratio = last(0.3)
    assert wide > 1
    assert ratio == pytest.approx(0.3 * every, rel=0.1)
    assert product.norm() / free.norm() == pytest.approx(ratio / wide, rel=0.1)
    assert torch.cosine_similarity(product, free, dim=0) > 0.99
    unchanged, same = last(100.0)
    torch.testing.assert_close(unchanged, free, rtol=0, atol=0)
    assert same == wide
