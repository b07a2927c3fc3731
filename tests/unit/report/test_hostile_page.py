"""A page of results with hostile names in a real browser: none of them runs."""

import shutil
import subprocess

import pytest

from sgg_ray.report import Page, PageTable, Section, html_page, html_picture
from sgg_ray.report.html import html_table

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = [
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "' onmouseover='document.title=1' x='",
    "</td></table><svg onload=\"document.title='owned'\">",
    "javascript:alert(1)",
]


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")
def test_hostile_names_are_shown_and_do_nothing(tmp_path):
    picture = tmp_path / 'x"onload="document.title=\'owned\'".png'
    picture.write_bytes(b"no picture")
    parts = [html_table(HOSTILE, [HOSTILE, HOSTILE]), html_picture(picture)]
    page = tmp_path / "page.html"
    body = "".join(html_page(title, *parts) for title in HOSTILE)
    check = "<script>document.body.dataset.seen = document.querySelectorAll('td').length</script>"
    page.write_text(
        f"<!doctype html><meta charset=utf-8><title>safe</title><body>{body}{check}", encoding="utf-8"
    )
    done = _opened(page, tmp_path)
    assert 'data-seen="50"' in done  # scripts do run in this page, and every cell is there
    assert "<title>safe</title>" in done
    assert "<svg" not in done
    assert done.count("<img") == len(HOSTILE)  # the pictures of the page itself


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")
def test_a_report_runs_no_script_at_all(tmp_path):
    sections = [Section(title, HOSTILE, [PageTable(HOSTILE, [HOSTILE])], code=title) for title in HOSTILE]
    page = tmp_path / "report.html"
    text = Page("safe", HOSTILE, HOSTILE, sections).html()
    # Even one that somebody writes into the file: the page's own policy forbids it.
    page.write_text(
        text.replace("</body>", "<script>document.title='owned'</script></body>"), encoding="utf-8"
    )
    done = _opened(page, tmp_path)
    assert "<title>safe</title>" in done
    assert done.count("<td") == len(HOSTILE) ** 2
    assert "<svg" not in done
    assert "<img" not in done


def _opened(page, tmp_path):
    """The page's elements after the browser has run it."""
    done = subprocess.run(
        [
            str(BROWSER),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=2000",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
