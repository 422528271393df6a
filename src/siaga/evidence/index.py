"""For every clause its last evidence, and when it was last proven by a drill, and where (pure; decision 22).

Folded from the records as they are written; kept beside the log as a cache and never as a source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

PROOF = "drill.judged"
"""The kind of record that proves a clause; its figures hold `drill`, `clauses`, `holds` and `where`."""

Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Index:
    """Where the fold stands."""

    records: int = 0
    """How many records were taken in: the number of the next one."""
    latest: Mapping[str, Entry] = field(default_factory=dict)
    """By clause: number, time, kind and reason of the last record."""
    proofs: Mapping[str, Mapping[str, Entry]] = field(default_factory=dict)
    """By clause, by where it was proven: the last drill there that held, and the last that did not, if later."""

    def taking(self, record: Entry) -> Index:
        """The index with one more record; one it holds already changes nothing."""
        if record["number"] < self.records:
            return self
        seen = {name: record[name] for name in ("number", "time", "kind", "reason")}
        latest = {**self.latest, record["clause"]: seen} if record["clause"] else self.latest
        proofs = self.proofs
        if record["kind"] == PROOF:
            figures = record["figures"]
            entry = {**seen, "drill": figures["drill"], "holds": figures["holds"]}
            proofs = {
                **proofs,
                **{clause: {**proofs.get(clause, {}), figures["where"]: entry} for clause in figures["clauses"]},
            }
        return replace(self, records=record["number"] + 1, latest=latest, proofs=proofs)


def to_document(index: Index) -> dict[str, Any]:
    """For the cache file and `siaga sop --json`."""
    return {
        "records": index.records,
        "latest": {clause: dict(entry) for clause, entry in index.latest.items()},
        "proofs": {clause: dict(places) for clause, places in index.proofs.items()},
    }


def from_document(document: Mapping[str, Any]) -> Index:
    """What `to_document` gave; KeyError or TypeError where it is something else."""
    return Index(int(document["records"]), dict(document["latest"]), dict(document["proofs"]))
