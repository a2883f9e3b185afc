"""Join tokens, for servers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from ._errors import InvalidArgumentError
from ._ffi import FAILURES, fail, native


@dataclass(frozen=True, slots=True)
class AccessToken:
    """Builds a join token with a key of the relay's configuration (its ``id`` and its ``secret``)::

        token = AccessToken("key-1", secret).with_room("standup").with_identity("ada").to_jwt()

    Every ``with_`` gives another builder and leaves this one as it is.
    """

    key_id: str
    secret: str
    room: str = ""
    identity: str = ""
    name: str = ""
    metadata: str = ""
    ttl: timedelta = timedelta(hours=1)
    publish: bool = True
    subscribe: bool = True
    admin: bool = False

    def with_room(self, room: str) -> AccessToken:
        """The one room it opens."""
        return replace(self, room=room)

    def with_identity(self, identity: str) -> AccessToken:
        """Who it is for: one session per identity is in the room. Empty: for anyone who has it."""
        return replace(self, identity=identity)

    def with_name(self, name: str) -> AccessToken:
        """Shown to others."""
        return replace(self, name=name)

    def with_metadata(self, metadata: str) -> AccessToken:
        """The application's own, shown to others."""
        return replace(self, metadata=metadata)

    def with_ttl(self, ttl: timedelta) -> AccessToken:
        """How long it opens the room, from the moment it is signed."""
        return replace(self, ttl=ttl)

    def with_grants(self, *, publish: bool = True, subscribe: bool = True, admin: bool = False) -> AccessToken:
        """What its holder may do."""
        return replace(self, publish=publish, subscribe=subscribe, admin=admin)

    def to_jwt(self) -> str:
        """Signs it."""
        seconds = int(self.ttl.total_seconds())
        if seconds <= 0:
            raise InvalidArgumentError("a token that opens nothing: give it some time to live", "token_claims")
        claims = native.TokenClaims(
            room=self.room,
            identity=self.identity,
            name=self.name,
            metadata=self.metadata,
            valid_seconds=seconds,
            publish=self.publish,
            subscribe=self.subscribe,
            admin=self.admin,
        )
        try:
            return str(native.sign_token(self.key_id, self.secret, claims))
        except FAILURES as error:
            fail(error)

    def __repr__(self) -> str:
        return f"AccessToken({self.key_id!r}, room={self.room!r}, identity={self.identity!r})"
