"""Who asks, and what that allows. Pure.

A role says what a person may do. A token narrows that by its scopes, never widens it.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

Role = Literal["admin", "streamer", "viewer"]
Scope = Literal["read", "streams", "webhooks", "admin"]
Via = Literal["anonymous", "cookie", "token", "admin_token"]

ROLES: tuple[Role, ...] = get_args(Role)
SCOPES: tuple[Scope, ...] = get_args(Scope)

ROLE_SCOPES: dict[Role, frozenset[Scope]] = {
    "admin": frozenset(SCOPES),
    "streamer": frozenset({"read", "streams", "webhooks"}),
    "viewer": frozenset({"read"}),
}


class StreamFacts(Protocol):
    """What decides about a stream."""

    @property
    def owner_id(self) -> int | None: ...

    @property
    def visibility(self) -> str: ...


@dataclass(frozen=True)
class Identity:
    """Who asks.

    Attributes:
        user_id: None for nobody, and for the holder of the admin token, who is no user.
        scopes: What this request may do: those of the role, of a token only those that it has as well.
        refused: A token came with the request, and it is not valid (any more).
        credential: Which web session or API token it was.
    """

    user_id: int | None = None
    name: str | None = None
    role: Role | None = None
    scopes: frozenset[Scope] = frozenset()
    via: Via = "anonymous"
    refused: bool = False
    credential: int | str | None = None

    @property
    def is_admin(self) -> bool:
        """An administrator with the scope to act as one."""
        return self.role == "admin" and "admin" in self.scopes

    def owns(self, stream: StreamFacts) -> bool:
        """It is this user's stream."""
        return self.user_id is not None and stream.owner_id == self.user_id

    def may_edit(self, stream: StreamFacts) -> bool:
        """May change it, see and rotate keys, cut its publisher."""
        return "streams" in self.scopes and self._manages(stream)

    def may_inspect(self, stream: StreamFacts) -> bool:
        """May see what only those see who manage the stream; reading alone is enough."""
        return self._reads and self._manages(stream)

    def may_watch(self, stream: StreamFacts) -> bool:
        """May play it, and know that it exists."""
        if stream.visibility != "private":
            return True
        return self._reads and (self.role in ("admin", "viewer") or self.owns(stream))

    def may_list(self, stream: StreamFacts) -> bool:
        """Finds it in lists; an unlisted stream is for those who were given its address."""
        if stream.visibility == "public":
            return True
        if not self._reads:
            return False
        listed = self.role == "viewer" and stream.visibility == "private"
        return self.role == "admin" or listed or self.owns(stream)

    @property
    def _reads(self) -> bool:
        return not self.scopes.isdisjoint({"read", "streams"})

    def _manages(self, stream: StreamFacts) -> bool:
        return self.role == "admin" or (self.role == "streamer" and self.owns(stream))


ANONYMOUS = Identity()
REFUSED = Identity(refused=True)
ADMIN_TOKEN = Identity(role="admin", scopes=frozenset(SCOPES), via="admin_token")
