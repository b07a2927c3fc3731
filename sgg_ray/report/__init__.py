"""What a person sees: tables, progress and pictures."""

from sgg_ray.report.checks import print_check
from sgg_ray.report.comparison_plots import plot_ranks, plot_shots, plot_stability
from sgg_ray.report.comparison_tables import Comparison, print_standings
from sgg_ray.report.console import duration, make_console, print_line, print_pairs, print_table
from sgg_ray.report.data_table import print_data
from sgg_ray.report.html import (
    html_comparison,
    html_page,
    html_picture,
    html_results,
    html_scores,
    html_sweep,
)
from sgg_ray.report.kept_model import kept_lines, unlabelled_line
from sgg_ray.report.model_result import ModelResult
from sgg_ray.report.module_plots import module_table, plot_modules
from sgg_ray.report.page import Page, PageTable, Section, as_sentence, sentences
from sgg_ray.report.page_sections import (
    configuration_section,
    data_section,
    quality_lines,
    quality_section,
    reproduce_section,
    scores_section,
    training_section,
    wrong_section,
)
from sgg_ray.report.plots import plot_curves, plot_layers, plot_scores, plot_similarity
from sgg_ray.report.prediction_table import print_predictions
from sgg_ray.report.progress import ProgressDisplay, training_line
from sgg_ray.report.row_tables import print_row_counts, print_worst_rows
from sgg_ray.report.rows_page import MOST_ROWS, row_counts, rows_page
from sgg_ray.report.run_tables import print_quality, print_runs, print_wrong_rows, settings_of, wrong_rows
from sgg_ray.report.study_sections import comparison_sections, sweep_sections
from sgg_ray.report.sweep_plots import (
    conclusion,
    plot_importance,
    plot_parallel,
    print_sweep,
    sweep_markdown,
    trial_line,
)
from sgg_ray.report.tables import print_comparison, print_json, print_plan, print_scores

__all__ = [
    "MOST_ROWS",
    "Comparison",
    "ModelResult",
    "Page",
    "PageTable",
    "ProgressDisplay",
    "Section",
    "as_sentence",
    "comparison_sections",
    "conclusion",
    "configuration_section",
    "data_section",
    "duration",
    "html_comparison",
    "html_page",
    "html_picture",
    "html_results",
    "html_scores",
    "html_sweep",
    "kept_lines",
    "make_console",
    "module_table",
    "plot_curves",
    "plot_importance",
    "plot_layers",
    "plot_modules",
    "plot_parallel",
    "plot_ranks",
    "plot_scores",
    "plot_shots",
    "plot_similarity",
    "plot_stability",
    "print_check",
    "print_comparison",
    "print_data",
    "print_json",
    "print_line",
    "print_pairs",
    "print_plan",
    "print_predictions",
    "print_quality",
    "print_row_counts",
    "print_runs",
    "print_scores",
    "print_standings",
    "print_sweep",
    "print_table",
    "print_worst_rows",
    "print_wrong_rows",
    "quality_lines",
    "quality_section",
    "reproduce_section",
    "row_counts",
    "rows_page",
    "scores_section",
    "sentences",
    "settings_of",
    "sweep_markdown",
    "sweep_sections",
    "training_line",
    "training_section",
    "trial_line",
    "unlabelled_line",
    "wrong_rows",
    "wrong_section",
]
