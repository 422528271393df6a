"""A site: where everything is, and how much stricter than the SOP it wants to be.

One model serves both kinds: an existing platform names every address; for the embedded platform the
addresses are chosen at the first `siaga up` and filled in by `platform.layout`. After that there is
one code path: whoever reads a resolved site cannot tell which kind it is.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StrictBool, model_validator
from pydantic_core import PydanticCustomError

from siaga.site.consistency import problems
from siaga.site.controller import ControllerSettings
from siaga.site.fields import Address, Name, Strict, Text, Url
from siaga.site.health import HealthSettings
from siaga.site.notifications import Heartbeat, NotificationRoute, Regulator
from siaga.site.schedule import ChangeCalendar, ChangeFreeze, Gate, ModesMax, ScheduledRunbook
from siaga.sop.limits import Limits


class Node(Strict):
    """One application node."""

    name: Name
    address: Address | None = None
    host: Text = "local"


class Region(Strict):
    """A region: its user-facing listener, the door in front of its nodes, and the nodes."""

    name: Name
    nodes: Annotated[tuple[Node, ...], Field(min_length=1)]
    front_door: Address | None = None
    """Where users of this region arrive."""
    door: Address | None = None
    """Where other regions' front doors reach this region's nodes."""


class Distance(Strict):
    """The network round trip between two regions; the embedded platform simulates it."""

    between: tuple[Name, Name]
    round_trip_ms: Annotated[int, Field(strict=True, ge=0, le=2000)]


class DatabaseServer(Strict):
    """One PostgreSQL server of a cluster."""

    name: Name
    address: Address | None = None
    host: Text = "local"


class Database(Strict):
    """A PostgreSQL cluster: its servers (the first is the initial primary) and its pooler."""

    servers: Annotated[tuple[DatabaseServer, ...], Field(min_length=1)]
    pooler: Address | None = None
    database: Text
    region: Name


class SessionStore(Strict):
    """The Valkey session cluster (ZDT-1.1b): never on the database's hosts, volumes or credentials."""

    servers: Annotated[tuple[DatabaseServer, ...], Field(min_length=1)]


class Vendor(Strict):
    """A third-party API."""

    name: Name
    url: Url | None = None


class Site(Strict):
    """Everything the program needs to know about one platform."""

    name: Name = "embedded"
    embedded: StrictBool = False
    timezone: str = "Asia/Jakarta"
    limits: Limits = Limits()
    controller: ControllerSettings = ControllerSettings()
    regions: Annotated[tuple[Region, ...], Field(min_length=1)]
    distances: tuple[Distance, ...] = ()
    transactions: Database
    history: Database
    sessions: SessionStore
    vendors: tuple[Vendor, ...] = ()
    appointments: tuple[ScheduledRunbook, ...] = ()
    freezes: tuple[ChangeFreeze, ...] = ()
    change_calendar: ChangeCalendar | None = None
    gates: tuple[Gate, ...] = ()
    health: HealthSettings = HealthSettings()
    notifications: tuple[NotificationRoute, ...] = ()
    heartbeat: Heartbeat | None = None
    regulator: Regulator | None = None
    modes_max: ModesMax = {}
    """The highest mode a clause may ever be moved to; moving it is an approved act, never a line in a file."""

    def region_of(self, node: str) -> Region:
        """The region that holds `node`; KeyError when no region does."""
        for region in self.regions:
            if any(node == n.name for n in region.nodes):
                return region
        raise KeyError(node)

    def region(self, name: str) -> Region:
        """The region called `name`; KeyError when there is none."""
        for region in self.regions:
            if region.name == name:
                return region
        raise KeyError(name)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Every application node, region by region."""
        return tuple(node for region in self.regions for node in region.nodes)

    def round_trip_ms(self, one: str, other: str) -> int:
        """Network round trip between two regions in ms; 0 within a region or where none is given."""
        for distance in self.distances:
            if set(distance.between) == {one, other}:
                return distance.round_trip_ms
        return 0

    def regions_by_distance(self, origin: str) -> tuple[Region, ...]:
        """All regions, nearest to `origin` first, itself leading (ZDT-1.1a: the nearest node)."""
        return tuple(sorted(self.regions, key=lambda r: (r.name != origin, self.round_trip_ms(origin, r.name))))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        found = list(problems(self.model_dump()))
        if found:
            raise PydanticCustomError("inconsistent", "{problems}", {"problems": "\n".join(found)})
        return self
