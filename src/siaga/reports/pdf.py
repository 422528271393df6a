"""The same HTML as PDF, by WeasyPrint: a library, so that no browser is needed, and nothing is fetched.

It works in a process of its own, `python -m siaga.reports.pdf` from stdin to stdout: Pango may lie where only an
environment variable makes it loadable, and a layout that never ends must not take the command with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Mapping

from siaga.errors import PlatformFault

DEADLINE_S = 120.0
_HINT = "Run `make setup`, which installs Pango; the HTML is written, and any browser prints it."


def make(html: str, environment: Mapping[str, str], *, deadline_s: float = DEADLINE_S) -> bytes:
    """The document's bytes; PlatformFault when its libraries can't be loaded, or it can't be laid out in time.

    `environment` is added to this process's own.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", "siaga.reports.pdf"],
            check=False,
            input=html.encode(),
            capture_output=True,
            env={**os.environ, **environment},
            timeout=deadline_s,
        )
    except subprocess.TimeoutExpired as expired:
        raise PlatformFault(f"the PDF was not made within {deadline_s:g} s", hint=_HINT) from expired
    if done.returncode != 0 or not done.stdout.startswith(b"%PDF-"):
        said = done.stderr.decode(errors="replace").strip().splitlines()
        why = said[-1] if said else f"exit code {done.returncode}"
        raise PlatformFault(f"the PDF can't be made: {why}", hint=_HINT)
    return done.stdout


def lay_out(html: str) -> bytes:
    """As `make`, in this process; OSError without Pango, ValueError for a document that wants something fetched."""
    with warnings.catch_warnings():
        # It says that a newer HarfBuzz will be wanted one day.
        warnings.simplefilter("ignore", DeprecationWarning)
        import weasyprint  # type: ignore[import-untyped]
    nothing = weasyprint.urls.URLFetcher(allowed_protocols=(), fail_on_errors=True)
    document = weasyprint.HTML(string=html, url_fetcher=nothing)
    # PDF/A-3u is made to be kept: every font is inside.
    return bytes(document.write_pdf(pdf_variant="pdf/a-3u", pdf_tags=True))


if __name__ == "__main__":
    try:
        sys.stdout.buffer.write(lay_out(sys.stdin.buffer.read().decode()))
    except (ImportError, OSError, ValueError) as error:
        sys.exit(str(error).strip().splitlines()[0])
