"""How well can a source's sign be told from K examples per class, by those who know all rows of the sources?"""

from collections.abc import Mapping

import numpy as np

DRAWS = 4000
RIDGE = 0.1  # share of the mean variance that is added to every direction of the covariance

Rows = tuple[np.ndarray, np.ndarray]  # features [n, H] and classes, 0 or 1


def bounds(corpora: Mapping[str, Rows], shots: tuple[int, ...]) -> list[dict]:
    """Share of draws in which the shots of a target lie on the right side, by who looks at them.

    * ``contrast``: who knows the large-sample gradient of one other corpus at the zero head (mean over the others);
    * ``sources``: who has a linear discriminant fitted on all rows of all other corpora;
    * ``target``: the same, fitted on all rows of the target itself.

    Args:
        corpora: features and classes of every row, by corpus; two classes.
        shots: per class.
    """
    found = []
    for target, (features, classes) in corpora.items():
        others = [name for name in corpora if name != target]
        observers = {
            "contrast": [_difference(corpora[name]) for name in others],
            "sources": [_discriminant([corpora[name] for name in others])],
            "target": [_discriminant([corpora[target]])],
        }
        for name, directions in observers.items():
            for count in shots:
                right = float(np.mean([_right(features @ w, classes, count) for w in directions]))
                found.append(
                    {"kind": "bound", "target": target, "observer": name, "shots": count, "right": right}
                )
    return found


def _difference(rows: Rows) -> np.ndarray:
    features, classes = rows
    return features[classes == 1].mean(axis=0) - features[classes == 0].mean(axis=0)


def _discriminant(sets: list[Rows]) -> np.ndarray:
    """Inverse of the covariance within classes times the mean of the unit differences of class means."""
    left = np.concatenate([x[y == value] - x[y == value].mean(axis=0) for x, y in sets for value in (0, 1)])
    covariance = left.T @ left / len(left)
    ridge = RIDGE * np.trace(covariance) / len(covariance)
    differences = [_difference(rows) for rows in sets]
    mean = sum(difference / np.linalg.norm(difference) for difference in differences)
    return np.linalg.solve(covariance + ridge * np.eye(len(covariance)), mean)


def _right(projected: np.ndarray, classes: np.ndarray, shots: int) -> float:
    random = np.random.default_rng(0)
    means = [random.choice(projected[classes == value], (DRAWS, shots)).mean(axis=1) for value in (0, 1)]
    return float((means[1] > means[0]).mean())
