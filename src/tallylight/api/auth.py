"""Who may change things: the owner of the data directory, by the token in it. Accounts come later."""

import hmac
import secrets
from typing import Annotated

from fastapi import Depends, Header, Request

from tallylight.errors import TallylightError
from tallylight.paths import DataDirectory, write_private

TOKEN_BYTES = 32


class TokenError(TallylightError):
    """The request does not prove that it may change things."""


def load_admin_token(data: DataDirectory) -> str:
    """Reads the admin token; makes one when there is none yet."""
    try:
        token = data.admin_token.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        token = ""
    if not token:
        token = secrets.token_urlsafe(TOKEN_BYTES)
        write_private(data.admin_token, token + "\n")
    return token


def require_admin(request: Request, authorization: Annotated[str | None, Header()] = None) -> None:
    """Lets only the admin token pass.

    Raises:
        TokenError: `token_missing` or `token_wrong`.
    """
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise TokenError(
            "token_missing", "This change needs the admin token.", "Send it as Authorization: Bearer TOKEN."
        )
    expected: str = request.app.state.control.admin_token
    if not hmac.compare_digest(token.strip().encode(), expected.encode()):
        raise TokenError(
            "token_wrong", "This admin token is not valid.", "Read it from admin-token in the data directory."
        )


AdminOnly = Depends(require_admin)
