"""The page about the configuration file has every key of the schema, as the site's build makes it."""

import importlib.util
from pathlib import Path

from sgg_ray.config.reference import all_keys

DOCS = Path(__file__).parents[3] / "docs"


def test_every_key_is_in_the_page():
    spec = importlib.util.spec_from_file_location("site_hook", DOCS / "site_hook.py")
    assert spec is not None
    assert spec.loader is not None
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    written = (DOCS / "configuration.md").read_text(encoding="utf-8")
    page = hook.on_page_markdown(written)
    assert hook.MARK in written
    assert hook.MARK not in page
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) == len(all_keys())
    headings = [line for line in page.splitlines() if line.startswith("## ")]
    assert len(headings) == len(set(headings))
    assert all(key.description for key in all_keys())
    assert all(f"| `{key.path.rpartition('.')[2]}` |" in page for key in all_keys())
    assert hook.on_page_markdown("another page") == "another page"
