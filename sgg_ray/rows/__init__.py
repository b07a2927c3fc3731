"""Scores of single rows: alignment, influence, the probability that a label is wrong, duplicates and outliers."""

from sgg_ray.rows.contrast_model import ContrastModel, RowParts, fit_contrast
from sgg_ray.rows.label_errors import LabelErrors, find_label_errors
from sgg_ray.rows.redundancy import OUTLYING, near_duplicates, outlyingness, robust_deviation
from sgg_ray.rows.row_alignment import (
    RowAlignment,
    align_gradients,
    align_rows,
    mean_gradient,
    opposing_rows,
    row_products,
)
from sgg_ray.rows.row_rankings import OF_FEATURES, OF_LABELS, ROW_RANKINGS, Candidates, Ranking
from sgg_ray.rows.row_weights import ROW_WEIGHTINGS, influence_ranking, row_weights, suspects

__all__ = [
    "OF_FEATURES",
    "OF_LABELS",
    "OUTLYING",
    "ROW_RANKINGS",
    "ROW_WEIGHTINGS",
    "Candidates",
    "ContrastModel",
    "LabelErrors",
    "Ranking",
    "RowAlignment",
    "RowParts",
    "align_gradients",
    "align_rows",
    "find_label_errors",
    "fit_contrast",
    "influence_ranking",
    "mean_gradient",
    "near_duplicates",
    "opposing_rows",
    "outlyingness",
    "robust_deviation",
    "row_products",
    "row_weights",
    "suspects",
]
