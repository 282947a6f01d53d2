"""Who may have a stream's video on the internal listener, and a count of those who may not."""

from typing import Annotated

from fastapi import Depends, Header, Query, Request

from tallylight.api.auth import TokenError, require_internal
from tallylight.api.control import ControlPlane


async def _admit(
    request: Request,
    control: ControlPlane,
    authorization: Annotated[str | None, Header()] = None,
    stream: Annotated[str | None, Query(max_length=256)] = None,
) -> None:
    """Lets only the internal token pass. A refusal is a fact about the stream that was asked for.

    Raises:
        TokenError: `token_missing` or `token_wrong`.
    """
    try:
        require_internal(request, authorization)
    except TokenError as error:
        if control.diagnosis.expose.refuse(stream, error.code):
            control.events.emit("internal_token_rejected", stream=stream, code=error.code)
        raise


ProcessorsOnly = Depends(_admit)
