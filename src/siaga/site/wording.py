"""How a refusal names a field, shows a found value, and suggests the nearest known word."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence

SHOWN_LENGTH_MAX = 80


def label(location: Sequence[int | str], document: object) -> str:
    """A field's path as a person finds it: list entries by their name (`regions.sgp.nodes.sgp-1.address`)."""
    words: list[str] = []
    for part in location:
        document = _entry(document, part)
        name = document.get("name") if isinstance(part, int) and isinstance(document, Mapping) else None
        if isinstance(part, str):
            words.append(_word(part))
        elif isinstance(name, str) and name:
            words.append(_word(name))
        else:
            words.append(f"{words.pop() if words else ''}[{part + 1}]")
    return ".".join(words)


def shown(value: object) -> str:
    """A found value, short, on one line, and without the credentials that an address may carry."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # Up to the last @ of the authority: a password may hold one itself.
        return json.dumps(_cut(re.sub(r"//[^/]*@", "//…@", value)), ensure_ascii=not value.isprintable())
    if isinstance(value, int) and abs(value) >= 10**40:
        return "a number of more than 40 digits"
    return _cut(str(value))


def nearest(word: str, known: Iterable[str]) -> str:
    """`, did you mean ...?` for the nearest known word; empty when none is near."""
    matches = difflib.get_close_matches(word[:SHOWN_LENGTH_MAX], list(known), n=1, cutoff=0.6)
    return f", did you mean `{matches[0]}`?" if matches else ""


def _word(text: str) -> str:
    return text if re.fullmatch(r"[\w-]{1,80}", text) else shown(text)


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_LENGTH_MAX else text[: SHOWN_LENGTH_MAX - 1] + "…"


def _entry(document: object, part: int | str) -> object:
    if isinstance(part, int):
        return document[part] if isinstance(document, list | tuple) and part < len(document) else None
    return document.get(part) if isinstance(document, Mapping) else None
