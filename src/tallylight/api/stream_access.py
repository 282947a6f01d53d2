"""Which stream a request is about, and whether who asks may do that with it.

A private stream of others is unknown to who may not watch it, in the same words as one that does not exist.
"""

from typing import Annotated

from fastapi import Depends, Path

from tallylight.accounts.identity import Identity
from tallylight.api.auth import NotAllowedError, WhoAsks, needs, require
from tallylight.api.control import ControlPlane
from tallylight.db import Stream
from tallylight.streams.store import StreamUnknownError

# Any text: a name that cannot exist is simply not found.
StreamNamePath = Annotated[str, Path(max_length=256, examples=["stage"])]


async def _watchable(name: StreamNamePath, who: WhoAsks, control: ControlPlane) -> Stream:
    stream = await control.streams.get(name)
    if not who.may_watch(stream):
        raise StreamUnknownError(name)
    return stream


def need_editor(who: Identity, stream: Stream) -> None:
    """Lets pass who may change this stream, which they know of.

    Raises:
        TokenError: `sign_in_needed` or `token_wrong`.
        NotAllowedError: It is somebody else's.
    """
    require(who, "streams")
    if not who.may_edit(stream):
        raise NotAllowedError("This stream belongs to somebody else; only its owner and administrators may do that.")


async def _editable(name: StreamNamePath, who: Annotated[Identity, needs("streams")], control: ControlPlane) -> Stream:
    stream = await _watchable(name, who, control)
    need_editor(who, stream)
    return stream


async def _inspectable(name: StreamNamePath, who: Annotated[Identity, needs("read")], control: ControlPlane) -> Stream:
    stream = await _watchable(name, who, control)
    if not who.may_inspect(stream):
        raise NotAllowedError("This stream belongs to somebody else; only its owner and administrators may see that.")
    return stream


# The stream of the path's `name`, if who asks may watch it (everybody, unless it is private) ...
WatchableStream = Annotated[Stream, Depends(_watchable)]
# ... may see what only those see who manage it (its owner and administrators) ...
InspectableStream = Annotated[Stream, Depends(_inspectable)]
# ... or may change it.
EditableStream = Annotated[Stream, Depends(_editable)]
