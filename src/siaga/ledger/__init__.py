"""DRP-3.2b: every balance against its log, and the fence around accounts that are not verified.

    from siaga.ledger import LedgerMap, Options, check
    report = check("service=shop", LedgerMap.model_validate({...}), Options(deep=True))

The names are found when they are first asked for: whoever needs a map alone does not wait for two database drivers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from siaga.ledger.crosscheck import check
    from siaga.ledger.map import LedgerMap
    from siaga.ledger.model import Report
    from siaga.ledger.reading import Options

__all__ = ["LedgerMap", "Options", "Report", "check"]

_PLACES = {"LedgerMap": "map", "Options": "reading", "Report": "model", "check": "crosscheck"}


def __getattr__(name: str) -> Any:
    """The public names, from where they are."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
