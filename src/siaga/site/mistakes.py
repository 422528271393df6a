"""Pydantic's complaints about a site, in the words of a site file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from siaga.site.wording import label, nearest, shown

EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "text in quotes",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "string_pattern_mismatch": "a name of small letters, digits and dashes, beginning with a letter, 31 at most",
    "too_short": "at least {min_length}",
    "too_long": "at most {max_length}",
    "string_too_short": "text that is not empty",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
}


def lines(error: ValidationError, document: object, model: type[BaseModel]) -> Iterator[str]:
    """Each mistake on a line of its own: field, what was found, what was expected."""
    for details in error.errors(include_url=False):
        if not details["loc"]:
            # The site as a whole: what `consistency` found, in its words.
            yield from details["msg"].splitlines()
        elif not _miscounted(details):
            yield _line(details, document, model)


def _miscounted(error: ErrorDetails) -> bool:
    # Pydantic counts only the entries that are valid themselves; those mistakes have their own lines.
    return error["type"] == "too_short" and len(error["input"]) >= error["ctx"]["min_length"]


def _line(error: ErrorDetails, document: object, model: type[BaseModel]) -> str:
    path = label(error["loc"], document)
    if error["type"] == "missing":
        return f"{path}: missing, but required"
    if error["type"] == "extra_forbidden":
        keys = _keys(model, error["loc"][:-1])
        advice = nearest(str(error["loc"][-1]), keys) or f", expected one of {', '.join(keys)}"
        return f"{path}: unknown key {shown(error['loc'][-1])}{advice}"
    if error["type"] == "window_closed":
        return f"{path}: {error['msg']}"
    return f"{path} = {shown(error['input'])}: {_expectation(error)}"


def _expectation(error: ErrorDetails) -> str:
    if error["type"] == "looser":
        return error["msg"]
    if error["type"] in EXPECTED:
        return "expected " + EXPECTED[error["type"]].format(**error.get("ctx", {}))
    return "expected " + error["msg"].removeprefix("Input should be ").removeprefix("a valid ")


def _keys(model: type[BaseModel], location: Sequence[int | str]) -> tuple[str, ...]:
    """The keys that the table at `location` may have."""
    for part in location:
        if isinstance(part, str):
            model = next(_models(model.model_fields[part].annotation))
    return tuple(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
