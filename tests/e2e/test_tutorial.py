"""The tutorial notebook runs from top to bottom, on the example of `sgg init` and the real model."""

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

NOTEBOOK = Path(__file__).parents[2] / "docs" / "tutorial.ipynb"
pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1200)]


def texts(notebook) -> list[str]:
    """What each code cell shows, as plain text."""
    return [
        "\n".join(output.get("text") or output["data"]["text/plain"] for output in cell.outputs)
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def test_the_tutorial(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs for cell in cells), (
        "run the notebook before it is stored: the site shows its outputs"
    )

    # A cell that raises is a CellExecutionError.
    nbclient.NotebookClient(
        notebook, timeout=1000, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    shown = dict(zip((cell.source.splitlines()[-1] for cell in cells), texts(notebook), strict=True))
    assert "helps" in shown["table.round(2)"]
    assert shown['bool((product - table["utility"]).abs().max() < 1e-6)'] == "True"
    assert "p_positive" in shown['run.predict(["it works perfectly", "the zip broke after a week"])']
    assert (tmp_path / "tutorial" / "exported" / "model.safetensors").is_file()
