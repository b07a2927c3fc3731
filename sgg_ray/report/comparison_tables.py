"""The tables of a comparison of strategies: terminal, Markdown, LaTeX, plain rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.text import Text

from sgg_ray.evaluation import Contrast, Ranking, Standing
from sgg_ray.markdown import markdown_text
from sgg_ray.report.console import print_line, print_table

MARKS = {"better": "▲", "worse": "▼", "no difference shown": "="}
LATEX_MARKS = {"▲": r"$^{\uparrow}$", "▼": r"$^{\downarrow}$", "=": ""}
FEWEST_PAIRS = 6  # below, the signed-rank test cannot reach p < 0.05, whatever the differences


@dataclass(frozen=True)
class Comparison:
    """Cells, statistics and failures of a comparison, and the tables made from them."""

    rows: list[Standing]
    ranking: Ranking | None
    baseline: str
    eval_split: str  # on which rows: test or validation
    seeds: list[int]
    targets: list[str]
    missing: int = 0  # cells that are not there
    measure: str = "accuracy"  # what strategies are judged by, in words
    failures: Mapping[str, str] = field(default_factory=dict)  # reason by cell
    descriptions: Mapping[str, str] = field(default_factory=dict)  # by strategy

    @property
    def shots(self) -> list[int | None]:
        """Columns of the main table; None is all of them together."""
        return list(dict.fromkeys(row.shots for row in self.rows))

    @property
    def overall(self) -> list[Standing]:
        """A row a strategy, over all shots."""
        last = self.shots[-1] if self.rows else None
        return [row for row in self.rows if row.shots == last]

    def at(self, strategy: str, shots: int | None) -> Standing | None:
        """One cell of the main table."""
        return next((row for row in self.rows if (row.strategy, row.shots) == (strategy, shots)), None)

    def accuracies(self) -> tuple[list[str], list[list[str]]]:
        """The main table: accuracy by strategy and shots, and what is shown about it."""
        headings = ["strategy", *(_shots(number) for number in self.shots)]
        headings += [f"minus {self.baseline}", "95 % interval", "p (Holm)", "shown"]
        body = []
        for row in self.overall:
            cells = [_accuracy(self.at(row.strategy, number)) for number in self.shots]
            body.append([row.strategy, *cells, *_gain(row.contrast)])
        return headings, body

    def details(self) -> tuple[list[str], list[list[str]]]:
        """Every contrast with both tests, before and after correction."""
        headings = ["strategy", "shots", "pairs", "difference", "95 % interval"]
        headings += ["Wilcoxon p", "Holm", "McNemar p", "Holm", "gained", "lost", "shown"]
        body = []
        for row in self.rows:
            c = row.contrast
            if c is None:
                continue
            body.append(
                [
                    row.strategy,
                    _shots(row.shots).removesuffix(" shots"),
                    str(c.pairs),
                    f"{100 * c.difference:+z.1f}",
                    _interval(c),
                    *(p_value(p) for p in (c.wilcoxon, c.wilcoxon_holm, c.mcnemar, c.mcnemar_holm)),
                    str(c.gained),
                    str(c.lost),
                    c.verdict,
                ]
            )
        return headings, body

    def metrics(self) -> tuple[list[str], list[list[str]]]:
        """The other metrics, over all shots; columns that nobody has are left out."""
        columns = [
            ("macro-F1", "macro_f1", lambda v: f"{100 * v:.1f}"),
            ("token loss", "loss", lambda v: f"{v:.3f}"),
            ("ROUGE-L", "rouge_l", lambda v: f"{100 * v:.1f}"),
            ("mean error", "mae", lambda v: f"{v:.3f}"),
            ("sd over seeds", "", lambda v: f"{100 * v:.1f}"),
            ("gradient stability", "stability", lambda v: f"{v:+z.3f}"),
            ("cv of ‖g‖", "norm_variation", lambda v: f"{v:.2f}"),
            ("alignment", "alignment", lambda v: f"{v:+z.3f}"),
            ("cross-task", "cross_task", lambda v: f"{100 * v:.1f}"),
            ("ms a step", "step_seconds", lambda v: f"{1000 * v:.1f}"),
            ("trainable", "trainable", lambda v: f"{v:,.0f}"),
            ("peak MiB", "memory", lambda v: f"{v / 2**20:,.0f}"),
        ]
        values = {
            row.strategy: [row.measures[key] if key else row.seed_sd for _, key, _ in columns]
            for row in self.overall
        }
        kept = [
            place for place in range(len(columns)) if any(math.isfinite(v[place]) for v in values.values())
        ]
        headings = ["strategy", *(columns[place][0] for place in kept)]
        body = [
            [name, *(columns[place][2](v[place]) if math.isfinite(v[place]) else "–" for place in kept)]
            for name, v in values.items()
        ]
        return headings, body

    def conclusion(self) -> list[str]:
        """What the grid shows, and what it does not, in sentences."""
        if not self.rows:
            return ["no cell has finished"]
        lines = []
        if self.missing:
            lines.append(f"{self.missing} cells are missing; the statistics use the pairs that exist")
        contrasts = [(row.strategy, row.contrast) for row in self.overall if row.contrast is not None]
        for word, verdict in (("better", "better"), ("worse", "worse")):
            names = [name for name, contrast in contrasts if contrast.verdict == verdict]
            if names:
                lines.append(f"{word} than {self.baseline} (p < 0.05 after Holm): {', '.join(names)}")
        open_ones = [name for name, contrast in contrasts if contrast.verdict == "no difference shown"]
        if open_ones:
            lines.append(f"no difference to {self.baseline} shown: {', '.join(open_ones)}")
        pairs = [contrast.pairs for _, contrast in contrasts]
        if pairs and max(pairs) < FEWEST_PAIRS:
            lines.append(
                f"{_counted(max(pairs), 'pair')} of cells cannot show a difference, however large: "
                f"{FEWEST_PAIRS} or more are needed"
            )
        if self.ranking is not None:
            best = min(self.ranking.ranks, key=lambda name: self.ranking.ranks[name])  # pyright: ignore[reportOptionalMemberAccess]
            lines.append(
                f"best mean rank: {best} ({self.ranking.ranks[best]:.1f} of {len(self.ranking.ranks)}, "
                f"{self.ranking.splits} splits; ranks differ clearly if they are "
                f"{self.ranking.critical_difference:.1f} apart)"
            )
        return lines

    def caption(self) -> str:
        """Caption of the main table: what its numbers mean."""
        rows = (
            "all test rows" if self.eval_split == "test" else "validation rows (neither shots nor test rows)"
        )
        return (
            f"{self.measure.capitalize()} in % on {rows}, mean ± standard deviation over "
            f"{_counted(len(self.seeds), 'seed')} ({_range(self.seeds)}) and "
            f"{_counted(len(self.targets), 'target')} "
            f"({', '.join(self.targets)}). Differences are paired by target, shots and seed; intervals by bootstrap "
            "over pairs, p by Wilcoxon's signed-rank test, Holm-corrected over strategies. "
            f"▲ better, ▼ worse than {self.baseline}, = no difference shown."
        )

    def markdown(self) -> str:
        """The whole report in Markdown."""
        parts = ["# Comparison of strategies", *self.conclusion(), self.caption(), _table(*self.accuracies())]
        parts += ["## Other metrics", _table(*self.metrics()), "## Every contrast", _table(*self.details())]
        parts.append(
            "McNemar's exact test pools the test rows of all pairs: it compares these models on these rows and "
            "does not account for variation between seeds."
        )
        if self.failures:
            parts.append("## Cells that failed")
            parts.append(
                "\n".join(
                    f"- {markdown_text(name)}: {markdown_text(reason)}"
                    for name, reason in self.failures.items()
                )
            )
        named = [
            f"- {markdown_text(name)}: {markdown_text(text)}"
            for name, text in self.descriptions.items()
            if text
        ]
        if named:
            parts += ["## Strategies", "\n".join(named)]
        return "\n\n".join(parts) + "\n"

    def latex(self) -> str:
        """The main table for a paper; needs the package booktabs."""
        headings, body = self.accuracies()
        columns = "l" + "r" * (len(headings) - 2)
        lines = [f"% {self.caption()}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
        lines.append(" & ".join(_latex(cell) for cell in headings[:-1]) + r" \\")
        lines.append(r"\midrule")
        lines += [" & ".join(_latex(cell) for cell in row[:-1]) + r" \\" for row in body]
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        ranking = self.ranking
        return {
            "baseline": self.baseline,
            "eval_split": self.eval_split,
            "measure": self.measure,
            "seeds": self.seeds,
            "targets": self.targets,
            "missing": self.missing,
            "failures": dict(self.failures),
            "conclusion": self.conclusion(),
            "rows": [row.to_dict() for row in self.rows],
            "ranking": None
            if ranking is None
            else {
                "ranks": ranking.ranks,
                "splits": ranking.splits,
                "friedman_p": ranking.p_value,
                "critical_difference": ranking.critical_difference,
            },
        }


def print_standings(console: Console, comparison: Comparison) -> None:
    """The main table, the other metrics, and what they show."""
    for headings, rows in (comparison.accuracies(), comparison.metrics()):
        print_table(console, headings, [[_styled(cell) for cell in row] for row in rows])
    for line in comparison.conclusion():
        print_line(console, line)
    for name, reason in comparison.failures.items():
        print_line(console, f"failed: {name}: {reason}", style="red")


def p_value(p: float) -> str:
    """A p-value as it is printed."""
    if math.isnan(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _styled(cell: str) -> Text:
    styles = {"▲": "green", "▼": "red", "better": "green", "worse": "red"}
    return Text(cell, style=next((style for mark, style in styles.items() if cell.endswith(mark)), ""))


def _accuracy(row: Standing | None) -> str:
    if row is None:
        return "–"
    spread = "" if math.isnan(row.sd) else f" ± {100 * row.sd:.1f}"
    mark = f" {MARKS[row.contrast.verdict]}" if row.contrast is not None else ""
    return f"{100 * row.mean:.1f}{spread}{mark}"


def _gain(contrast: Contrast | None) -> list[str]:
    if contrast is None:
        return ["", "", "", ""]
    shown = f"{100 * contrast.difference:+z.1f}"
    return [shown, _interval(contrast), p_value(contrast.wilcoxon_holm), contrast.verdict]


def _interval(contrast: Contrast) -> str:
    if math.isnan(contrast.low):
        return "–"
    return f"{100 * contrast.low:+z.1f} … {100 * contrast.high:+z.1f}"


def _shots(number: int | None) -> str:
    return "all" if number is None else f"{number} shots"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _range(seeds: Sequence[int]) -> str:
    return str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [_escaped(headings), ["---"] * len(headings), *map(_escaped, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _escaped(cells: Sequence[str]) -> list[str]:
    return [markdown_text(cell) for cell in cells]


def _latex(cell: str) -> str:
    for mark, command in LATEX_MARKS.items():
        cell = cell.removesuffix(f" {mark}") + (command if cell.endswith(f" {mark}") else "")
    for plain, command in (("_", r"\_"), ("%", r"\%"), ("&", r"\&"), ("±", r"$\pm$"), ("…", r"\ldots{}")):
        cell = cell.replace(plain, command)
    return cell
