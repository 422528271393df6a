"""The PDF, made by the real library; skipping it would hide that `make setup` does not bring what it needs."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from reported_month import a_whole_month, report

from siaga.errors import Exit, PlatformFault
from siaga.platform import packages
from siaga.reports import pdf
from siaga.reports.html import render


def environment() -> dict[str, str]:
    found = packages.find_pango()
    assert found is not None, "`make setup` brings Pango"
    return found


def test_the_whole_report_becomes_a_pdf_with_its_fonts_inside() -> None:
    made = pdf.make(render(report(a_whole_month())), environment())
    assert made.startswith(b"%PDF-1.7")
    content = b"".join(_streams(made))
    assert content.count(b"/Type /Page/") > 3
    assert content.count(b"/FontFile2") + content.count(b"/FontFile3") >= 3


@pytest.mark.parametrize(
    "reference",
    ['<img src="file:///etc/hostname">', '<img src="http://127.0.0.1:9/x.png">', "<style>@import 'http://x/'</style>"],
)
def test_a_page_that_wants_something_fetched_is_refused(reference: str) -> None:
    with pytest.raises(PlatformFault, match="Error fetching"):
        pdf.make(f"<p>before{reference}after</p>", environment())


def test_libraries_that_do_not_load_are_named_with_the_next_move(tmp_path: Path) -> None:
    with pytest.raises(PlatformFault, match="the PDF can't be made") as failed:
        pdf.make("<p>x</p>", {"PYTHONPATH": _without_weasyprint(tmp_path)})
    assert "make setup" in failed.value.hint
    assert failed.value.exit_code is Exit.DOES_NOT_HOLD


def test_a_layout_that_does_not_end_is_ended() -> None:
    with pytest.raises(PlatformFault, match=r"not made within 0\.05 s"):
        pdf.make("<p>x</p>", environment(), deadline_s=0.05)


def _streams(made: bytes) -> Iterator[bytes]:
    """What is compressed in it."""
    for part in made.split(b"stream\n")[1:]:
        with contextlib.suppress(zlib.error):
            yield zlib.decompressobj().decompress(part)


def _without_weasyprint(directory: Path) -> str:
    """A library that fails as it does where Pango is not."""
    (directory / "weasyprint.py").write_text('raise OSError("cannot load library libpango-1.0-0")\n')
    return str(directory)
