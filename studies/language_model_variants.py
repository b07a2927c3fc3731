"""What language_models.py trains: variants that are searched on development tasks, and what is measured with the best.

A variant is a set of configuration sections, as in a strategy's file. Of each family the variant with the best mean
accuracy over development splits is measured, and of all families the splits are the same.
"""

from typing import Any

import numpy as np

STEPS = 60
Sections = dict[str, dict[str, Any]]
Cell = dict[str, Any]

ADAPTER = {"peft_type": "lora", "r": 16, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"]}
TERMS_OFF = {"lambda_direction": 0, "lambda_magnitude": 0, "lambda_alignment": 0}
ALONE = {**TERMS_OFF, "lambda_source": 0}
LIMITED = {"max_hvp_ratio": 0.5}
TARGET_TERMS = {"lambda_direction": 0.1, "lambda_magnitude": 0.1, "lambda_alignment": 0, "lambda_source": 0}
EVEN = {"weighting": "uniform"}
EPISODES = {"context_examples": 8, "cuda_graphs": False, "micro_batch_size": 8}
# A fixed distance: the gradient is taken where the loss has risen (sharpness-aware minimisation with that radius).
AHEAD = {"gradient_floor": 0, "warmup_ratio": 0, "lambda_direction": 0, "lambda_alignment": 0}
IA3: Sections = {
    "model": {"adapter": {"peft_type": "ia3"}, "length_normalised": True},
    "train": {"loss": "t_few"},
}
LORA, BESIDE, FEW = (3e-4, 1e-3, 3e-3), (1e-3, 3e-3), (5e-3, 2e-2)


def rated(prefix: str, rates: tuple[float, ...], **sections: dict[str, Any]) -> dict[str, Sections]:
    """A variant for each learning rate."""
    return {
        f"{prefix} {rate:g}".strip(): {
            **sections,
            "train": {**sections.get("train", {}), "learning_rate": rate},
        }
        for rate in rates
    }


def ahead(distance: float) -> dict[str, Any]:
    """The magnitude term over a fixed distance of its own size."""
    return {**AHEAD, "lambda_magnitude": distance, "fd_step": distance}


PULLED = {"hvp": "first_order", "lambda_direction": 0.1, "lambda_magnitude": 0, "lambda_alignment": 0.3}
WEIGHTS_ALONE: Sections = {"guidance": TERMS_OFF}
TURNS = {"schedule": "sequential"}
THIRD = {**TERMS_OFF, "lambda_source": 0.3}
FAMILIES: dict[str, dict[str, Sections]] = {
    "lora": rated("", LORA, guidance=ALONE),
    "sgg-target": {
        **rated("default", LORA, guidance={**TARGET_TERMS, **LIMITED}),
        **rated(
            "magnitude 0.3",
            BESIDE,
            guidance={**TARGET_TERMS, "lambda_direction": 0, "lambda_magnitude": 0.3, "max_hvp_ratio": 1.0},
        ),
        **rated("ahead 0.3", LORA, guidance={**ahead(0.3), "lambda_source": 0}),
        **rated("ahead 1", BESIDE, guidance={**ahead(1.0), "lambda_source": 0}),
        **rated(
            "pulled",
            BESIDE,
            guidance={**TARGET_TERMS, "hvp": "first_order", "lambda_direction": 0.3, "lambda_magnitude": 0.3},
        ),
    },
    "t-few": rated("", FEW, guidance=ALONE, **IA3),
    "t-few-terms": rated("", FEW, guidance={**TARGET_TERMS, **LIMITED}, **IA3),
    "multitask": {
        **rated("", BESIDE, guidance=TERMS_OFF, alignment=EVEN),
        **rated("0.3 of the mixture", (3e-3,), guidance=THIRD, alignment=EVEN),
    },
    "sequential": rated("", BESIDE, guidance=TERMS_OFF, alignment=EVEN, train=TURNS),
    "flad-exp3": rated("", BESIDE, guidance=TERMS_OFF, alignment={"weighting": "exp3"}),
    "pcgrad": rated("", BESIDE, guidance=TERMS_OFF, alignment=EVEN, train={"combine": "pcgrad"}),
    "sgg-weights": {
        **rated("", (*BESIDE, 6e-3), **WEIGHTS_ALONE),
        **rated("0.3 of the mixture", BESIDE, guidance=THIRD),
        **rated("in turn", BESIDE, **WEIGHTS_ALONE, train=TURNS),
        **rated("ia3", FEW, **WEIGHTS_ALONE, **IA3),
    },
    "sgg-terms": {
        **rated("default", BESIDE, guidance=LIMITED),
        **rated(
            "weak",
            (3e-3,),
            guidance={
                **LIMITED,
                "lambda_direction": 0.03,
                "lambda_magnitude": 0.03,
                "lambda_alignment": 0.015,
            },
        ),
        **rated("alignment 0.3", BESIDE, guidance={**TERMS_OFF, **LIMITED, "lambda_alignment": 0.3}),
        **rated("ahead 0.3", BESIDE, guidance=ahead(0.3)),
        **rated("0.3, ahead 0.3", BESIDE, guidance={**ahead(0.3), "lambda_source": 0.3}),
        **rated("pulled", BESIDE, guidance=PULLED),
        **rated("in turn", BESIDE, guidance={**LIMITED, "lambda_alignment": 0}, train=TURNS),
    },
}
# The first search is wide, over a few splits; these are searched again on others, which then decide.
SECOND: dict[str, tuple[str, ...]] = {
    "lora": ("0.0003", "0.001"),
    "sgg-target": ("ahead 0.3 0.0003", "ahead 0.3 0.001", "default 0.001"),
    "multitask": ("0.001", "0.003", "0.3 of the mixture 0.003"),
    "sgg-weights": ("0.001", "0.003", "0.3 of the mixture 0.001", "0.3 of the mixture 0.003"),
    "sgg-terms": (
        "default 0.003",
        "ahead 0.3 0.001",
        "ahead 0.3 0.003",
        "0.3, ahead 0.3 0.001",
        "0.3, ahead 0.3 0.003",
    ),
}
# Which weights: compared in pools with bad sources, at one rate.
WEIGHTINGS = {
    name: {"guidance": TERMS_OFF, "alignment": {"weighting": name}, "train": {"learning_rate": 3e-3}}
    for name in ("relu", "evidence", "uniform")
}
# What is measured at the settings of a family: the family, and changes to it.
DERIVED: dict[str, tuple[str, Sections]] = {
    "lora-twice": ("lora", {"train": {"max_steps": 2 * STEPS}}),
    "target-terms-off": ("sgg-target", {"guidance": TERMS_OFF}),
    "sgg-terms-off": ("sgg-terms", {"guidance": TERMS_OFF}),
    "sgg-evidence": ("sgg-weights", {"alignment": {"weighting": "evidence"}}),
    "flad-ucb1": ("flad-exp3", {"alignment": {"weighting": "ucb1"}}),
    "upgrad": ("pcgrad", {"train": {"combine": "upgrad"}}),
    "sgg-episodes": ("sgg-terms", {"train": EPISODES}),
    "sgg-episodes-3e-4": ("sgg-terms", {"train": {**EPISODES, "learning_rate": 3e-4}}),
    "in-context-tuning": ("multitask", {"train": {**EPISODES, "learning_rate": 3e-4}}),
}


def changed(sections: Sections, changes: Sections) -> Sections:
    """Sections with some keys replaced."""
    found = {name: {**sections.get(name, {}), **changes.get(name, {})} for name in {*sections, *changes}}
    if found.get("train", {}).get("schedule") == "sequential":
        found["guidance"]["lambda_alignment"] = 0  # it needs both gradients in one step
    return found


def chosen_variants(choice: dict[str, str]) -> dict[str, Sections]:
    """Every strategy that is measured, by its name."""
    best = {family: variants[choice[family]] for family, variants in FAMILIES.items()}
    derived = {name: changed(best[family], changes) for name, (family, changes) in DERIVED.items()}
    return {**best, **derived}


def means(cells: list[Cell], family: str, wanted: tuple[str, ...]) -> tuple[dict[str, float], int]:
    """Mean accuracy in % of a family's variants over the splits that all of them have, and how many these are."""
    by: dict[str, dict[tuple, float]] = {name: {} for name in wanted}
    for cell in cells:
        own, _, variant = cell.get("strategy", "").partition(" | ")
        if "accuracy" in cell and own == family and variant in by and cell["pool"] == "clean":
            by[variant][cell["task"], cell["shots"], cell["seed"]] = cell["accuracy"]
    common = set.intersection(*(set(own) for own in by.values()))
    if not common:
        return {}, 0
    return {name: 100 * float(np.mean([own[split] for split in common])) for name, own in by.items()}, len(
        common
    )


def choice(first: list[Cell], second: list[Cell]) -> dict[str, str]:
    """Of each family the variant with the best mean accuracy in the second search, or where there was none in the
    first."""
    best = {}
    for family, variants in FAMILIES.items():
        wanted = SECOND.get(family, tuple(variants))
        found, splits = means(second if family in SECOND else first, family, wanted)
        if not found:
            found, splits = means(first, family, wanted)
        best[family] = max(found, key=found.__getitem__) if found else wanted[0]
        shown = {name: round(mean, 1) for name, mean in found.items()}
        print(f"{family}: {splits} splits, {shown}: {best[family]}", flush=True)
    return best
