"""The final comparison of models that say texts, as cells of a table."""

from __future__ import annotations

from collections.abc import Sequence

from sgg_ray.evaluation import GenerationComparison, GenerationMetrics

HEADINGS = (
    "model",
    "token loss",
    "95 % interval",
    "perplexity",
    "exact match",
    "95 % interval",
    "ROUGE-L",
    "95 % interval",
    "p",
)


def generation_row(name: str, metrics: GenerationMetrics) -> list[str]:
    """Cells of one model's row."""
    return [
        name,
        f"{metrics.loss:.3f}",
        f"{metrics.loss_low:.3f} … {metrics.loss_high:.3f}",
        f"{metrics.perplexity:.2f}" if metrics.perplexity < 1e4 else f"{metrics.perplexity:.1e}",
        f"{100 * metrics.exact_match:.1f} %",
        f"{100 * metrics.exact_match_low:.1f} … {100 * metrics.exact_match_high:.1f}",
        f"{100 * metrics.rouge_l:.1f}",
        f"{100 * metrics.rouge_l_low:.1f} … {100 * metrics.rouge_l_high:.1f}",
        "",
    ]


def difference_row(gain: GenerationComparison) -> list[str]:
    """The second model minus the first on the same rows."""
    loss, exact, words = gain.loss, gain.exact_match, gain.rouge_l
    return [
        "difference",
        f"{loss.difference:+z.3f}",
        f"{loss.low:+z.3f} … {loss.high:+z.3f}",
        "",
        f"{100 * exact.difference:+z.1f}",
        f"{100 * exact.low:+z.1f} … {100 * exact.high:+z.1f}",
        f"{100 * words.difference:+z.1f}",
        f"{100 * words.low:+z.1f} … {100 * words.high:+z.1f}",
        f"{exact.p_value:.3f}" if exact.p_value >= 0.001 else "< 0.001",
    ]


def generation_rows(
    results: Sequence[tuple[str, GenerationMetrics, GenerationComparison | None]],
) -> list[list[str]]:
    """All models, each with the difference to the first below it, where there is one."""
    rows = []
    for name, metrics, gain in results:
        rows.append(generation_row(name, metrics))
        if gain is not None:
            rows.append(difference_row(gain))
    return rows


def generation_caption(rows: int) -> str:
    """Caption of the table: what its numbers mean."""
    return (
        f"on {rows} test rows; the difference is guided minus target only on the same rows (a loss below 0 is better, "
        "exact match and ROUGE-L in points), p of exact match by McNemar's exact test"
    )
