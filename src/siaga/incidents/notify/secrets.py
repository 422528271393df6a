"""Keys and addresses of routes, read by name at the moment of use, so that they can be changed at any time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from siaga.errors import BadInput

Secret = Callable[[str], Awaitable[str]]
"""A secret's value by its name."""


def named(secret: Secret) -> Secret:
    """The same, without white space around, and with a refusal that names the secret and nothing of it."""

    async def read(name: str) -> str:
        try:
            found = (await secret(name)).strip()
        except OSError as error:
            raise BadInput(
                f"the secret `{name}` can't be read ({error.strerror})", hint="Store it under this name."
            ) from None
        if not found:
            raise BadInput(f"the secret `{name}` is empty", hint="Store it under this name.")
        return found

    return read
