"""The signed claim: who a session belongs to, for reads while the session store is silent. Pure."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """What the node that saw the session in the store signed."""

    user: int
    account: int
    name: str
    session_digest: str
    session_expires_s: int
    expires_s: int


class ClaimKeys:
    """Signs with the first key and verifies with every key, so a key is replaced without a pause."""

    def __init__(self, keys: Mapping[str, bytes], ttl_s: int) -> None:
        self._keys = dict(keys)
        self._signing = next(iter(self._keys))
        self.ttl_s = ttl_s

    def sign(self, claim: Claim) -> str:
        """The cookie's value: `KEY-ID.PAYLOAD.SIGNATURE`."""
        payload = base64.urlsafe_b64encode(json.dumps(asdict(claim), separators=(",", ":")).encode()).decode()
        return f"{self._signing}.{payload}.{self._signature(self._signing, payload)}"

    def verify(self, cookie: str, session_digest: str, now_s: float) -> Claim | None:
        """The claim, when it is ours, of this very session, and not expired."""
        identifier, _, rest = cookie.partition(".")
        payload, _, signature = rest.partition(".")
        if identifier not in self._keys or not signature.isascii():
            return None
        if not hmac.compare_digest(self._signature(identifier, payload), signature):
            return None
        try:
            claim = Claim(**json.loads(base64.urlsafe_b64decode(payload)))
        except (ValueError, TypeError, binascii.Error):
            return None
        # A claim signed for longer than this site allows is as good as expired.
        if not now_s < claim.expires_s <= now_s + self.ttl_s + 1 or claim.session_digest != session_digest:
            return None
        return claim if now_s < claim.session_expires_s else None

    def needs_refresh(self, claim: Claim | None, now_s: float) -> bool:
        """Whether less than half of its life is left."""
        return claim is None or claim.expires_s - now_s < self.ttl_s / 2

    def _signature(self, identifier: str, payload: str) -> str:
        digest = hmac.digest(self._keys[identifier], f"{identifier}.{payload}".encode(), "sha256")
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")
