"""What a site says about its controllers: where their own state is, and whether a second one stands by."""

from __future__ import annotations

from typing import Literal

from pydantic import StrictBool, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from siaga.site.fields import Address, Strict, Text


class ControllerSettings(Strict):
    """The controller's own state never sits in what it recovers (architecture, section 1)."""

    state: Literal["sqlite", "postgresql"] = "sqlite"
    standby: StrictBool = False
    """A second controller that takes over within 5 s; both need state that they can share."""
    address: Address | None = None
    """Of the PostgreSQL that holds the state, past any pooler; the embedded platform starts one of its own."""
    password_file: Text | None = None
    """Holds the password of its role `siaga_state`; the embedded platform makes one of its own."""

    @field_validator("standby")
    @classmethod
    def _shared(cls, standby: bool, given: ValidationInfo) -> bool:
        if standby and given.data.get("state") == "sqlite":
            raise PydanticCustomError("shared", 'state = "postgresql" beside it: two controllers share no SQLite file')
        return standby

    @field_validator("address", "password_file")
    @classmethod
    def _used(cls, value: str | None, given: ValidationInfo) -> str | None:
        if value is not None and given.data.get("state") == "sqlite":
            raise PydanticCustomError("used", 'state = "postgresql" beside it, which alone has an address')
        return value

    @property
    def names(self) -> tuple[str, ...]:
        """The controllers; the first leads when nothing is wrong with it."""
        return ("controller", "controller-b") if self.standby else ("controller",)
