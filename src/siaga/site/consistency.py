"""What no single field can tell about a site: names given twice, regions that nobody knows, addresses missing.

Judges the plain document rather than the model, so that `load` can report these mistakes together with
wrong types; whatever has a wrong type is left to the model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from siaga.site.wording import label, shown

Document = Mapping[str, Any]


def problems(document: Document) -> Iterator[str]:
    """Each inconsistency in words: field, what was found, what was expected."""
    yield from _names_given_twice(document)
    yield from _unknown_regions(document)
    yield from _addresses_given_twice(document)
    if document.get("embedded") is not True:
        yield from _missing_addresses(document)


def _names_given_twice(document: Document) -> Iterator[str]:
    nodes = [node for region in _tables(document, "regions") for node in _tables(region, "nodes")]
    servers = [server for _, server in _servers(document)]
    own = [(kind, _tables(document, kind)) for kind in ("regions", "vendors", "appointments", "gates", "notifications")]
    for kind, tables in (*own, ("nodes", nodes), ("servers", servers)):
        for name, count in Counter(_texts(tables, "name")).items():
            if count > 1:
                yield f"{kind}: the name {shown(name)} is given {_times(count)}, expected a different one each time"


def _unknown_regions(document: Document) -> Iterator[str]:
    known = list(dict.fromkeys(_texts(_tables(document, "regions"), "name")))
    if not known:
        return
    expected = f"expected one of {', '.join(shown(name) for name in known)}"
    for field in ("transactions", "history"):
        region = _table(document, field).get("region")
        if isinstance(region, str) and region not in known:
            yield f"{field}.region = {shown(region)}: no such region, {expected}"
    pairs: Counter[frozenset[str]] = Counter()
    for distance in _tables(document, "distances"):
        ends = distance.get("between")
        if not isinstance(ends, list | tuple) or len(ends) != 2 or not all(isinstance(end, str) for end in ends):
            continue
        yield from (f"distances.between = {shown(end)}: no such region, {expected}" for end in ends if end not in known)
        if ends[0] == ends[1]:
            yield f"distances.between = {shown(ends[0])} twice: expected two different regions"
        pairs[frozenset(ends)] += 1
    for pair, count in pairs.items():
        if count > 1:
            ends = " and ".join(shown(end) for end in sorted(pair))
            yield f"distances: the pair {ends} is given {_times(count)}, expected once"


def _addresses_given_twice(document: Document) -> Iterator[str]:
    # One PgBouncer may pool, and one PostgreSQL server hold, both databases. Everything else listens by itself.
    found: dict[str, list[str]] = {}
    for path, address in _listeners(document):
        if isinstance(address, str):
            found.setdefault(address, []).append(path)
    for address, paths in found.items():
        if len(paths) > 1 and {path.partition(".")[0] for path in paths} != {"transactions", "history"}:
            yield f"{paths[1]} = {shown(address)}: already the address of {paths[0]}, expected one of its own"


def _missing_addresses(document: Document) -> Iterator[str]:
    for path, address in _listeners(document):
        if address is None and not path.endswith(".door"):
            yield f"{path}: missing, expected host:port (only an embedded platform chooses its own)"
    for position, vendor in enumerate(_tables(document, "vendors")):
        if vendor.get("url") is None:
            yield f"{label(('vendors', position), document)}.url: missing, expected the URL that its audit calls"


def _listeners(document: Document) -> Iterator[tuple[str, object]]:
    for position, region in enumerate(_tables(document, "regions")):
        path = label(("regions", position), document)
        yield f"{path}.front_door", region.get("front_door")
        yield f"{path}.door", region.get("door")
        for number, node in enumerate(_tables(region, "nodes")):
            yield f"{path}.{label(('nodes', number), region)}.address", node.get("address")
    for path, server in _servers(document):
        yield f"{path}.address", server.get("address")
    controller = _table(document, "controller")
    if controller.get("state") == "postgresql":
        yield "controller.address", controller.get("address")


def _servers(document: Document) -> Iterator[tuple[str, Document]]:
    for field in ("transactions", "history", "sessions"):
        cluster = _table(document, field)
        for position, server in enumerate(_tables(cluster, "servers")):
            yield f"{field}.{label(('servers', position), cluster)}", server


def _tables(document: Document, field: str) -> list[Document]:
    value = document.get(field)
    # A wrong entry stays as an empty table, so that the positions of the others do not move.
    return [v if isinstance(v, Mapping) else {} for v in value] if isinstance(value, list | tuple) else []


def _table(document: Document, field: str) -> Document:
    value = document.get(field)
    return value if isinstance(value, Mapping) else {}


def _texts(tables: Sequence[Document], field: str) -> list[str]:
    return [value for table in tables if isinstance(value := table.get(field), str)]


def _times(count: int) -> str:
    return "twice" if count == 2 else f"{count} times"
