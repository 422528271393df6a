"""What has to be so before the calendar starts a runbook by itself: lever, mode, freezes, traffic (pure)."""

from __future__ import annotations

from dataclasses import dataclass

from siaga.runbooks.calendar import Hold
from siaga.runbooks.low_traffic import Level, Traffic
from siaga.sop.clauses import ClauseId
from siaga.sop.modes import Kind, Mode, Permission, permits


@dataclass(frozen=True, slots=True)
class Conditions:
    """What is known at the moment of the start."""

    clause: ClauseId
    mode: Mode
    halted: str = ""
    freezes_unreadable: str = ""
    """Why the change calendar can't be read: then nobody knows that there is no freeze."""
    traffic: Traffic | None = None
    """None where the appointment does not ask for the low."""
    other: str = ""
    """What else speaks against it, such as an open incident or that nothing is planned."""
    allowed_by: str = ""
    """The person who allowed this very occurrence."""


def hold(conditions: Conditions) -> Hold | None:
    """The first rule that says no; None when it may start.

    A person's word stands for the approval that a mode asks for and for traffic that nobody knows, for nothing else.
    """
    permission = permits(conditions.mode, conditions.halted, Kind.ACT)
    if conditions.halted:
        return Hold("halted", f"halted: {conditions.halted}")
    if permission in (Permission.SAY, Permission.ADVISE):
        words = f"{conditions.clause} is in mode {conditions.mode}: nothing is started without a person"
        return Hold(f"mode {conditions.mode}", words)
    if conditions.freezes_unreadable:
        return Hold("change calendar", f"the change calendar can't be read: {conditions.freezes_unreadable}")
    if conditions.other:
        return Hold("condition", conditions.other)
    if conditions.traffic is not None and conditions.traffic.level is Level.NOT_LOW:
        return Hold("traffic", f"traffic is not at its low: {conditions.traffic.reason}")
    if conditions.allowed_by:
        return None
    if permission is Permission.ASK:
        return Hold("approval", f"{conditions.clause} is in mode {conditions.mode}: a person has to allow it")
    if conditions.traffic is not None and conditions.traffic.level is Level.UNKNOWN:
        words = f"nobody knows whether traffic is at its low ({conditions.traffic.reason}): a person has to allow it"
        return Hold("traffic unknown", words)
    return None
