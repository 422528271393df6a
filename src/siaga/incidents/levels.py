"""Which level a fact is (ZDT-1, decision 20). Unsure is the higher one (pure)."""

from __future__ import annotations

from siaga.incidents.model import Fact, FactKind, Level

RULES_VERSION = 1
"""Goes into the evidence with each level: a rule that changes later does not change what was right then."""

RULES: dict[FactKind, tuple[Level, str]] = {
    FactKind.OUTAGE: (Level.CRITICAL, "users see failures, whatever their cause or share (ZDT-1, decision 20)"),
    FactKind.BURN: (Level.MAJOR, "the month's budget is used up too fast"),
    FactKind.REDUNDANCY: (Level.MAJOR, "redundancy is lost while users are served"),
    FactKind.DEGRADATION: (Level.MINOR, "less than usual, and nobody notices"),
    FactKind.INTEGRITY: (Level.CRITICAL, "integrity is in doubt"),
    FactKind.KEY_COMPROMISED: (Level.CRITICAL, "a key is compromised"),
    FactKind.CLAUSE_AT_RISK: (Level.MAJOR, "a clause of the SOP is at risk while users are served"),
    FactKind.ALERT: (Level.MAJOR, "an alert from outside; what it means for users is not known here"),
}


def level_of(fact: Fact) -> tuple[Level, str]:
    """The level, and why. A sender may ask for more than the rule says, and for less only in an alert."""
    level, rule = RULES[fact.kind]
    if fact.share and level < Level.CRITICAL:
        return Level.CRITICAL, f"{fact.share:.1%} of the users are affected (ZDT-1, decision 20)"
    if fact.level is None:
        return level, rule
    if fact.level > level or fact.kind is FactKind.ALERT:
        return fact.level, f"its sender calls it {fact.level.label}"
    return level, rule
