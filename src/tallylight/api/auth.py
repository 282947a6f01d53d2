"""Who may do what: holders of the tokens in the data directory, one for changes, one for the internal listener.

Accounts come later.
"""

import base64
import binascii
import hmac
import secrets
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Header, Request

from tallylight.errors import TallylightError
from tallylight.paths import write_private

TOKEN_BYTES = 32

BEARER = 'Bearer realm="tallylight"'
# Basic comes first: FFmpeg reads the first scheme of the header only, and it cannot do Bearer from an address.
BASIC_OR_BEARER = f'Basic realm="tallylight", {BEARER}'


class TokenError(TallylightError):
    """The request does not prove that it may do this."""

    def __init__(self, code: str, message: str, fix: str, challenge: str = BEARER) -> None:
        super().__init__(code, message, fix)
        self.challenge = challenge


def load_token(path: Path) -> str:
    """Reads a token; makes one when there is none yet."""
    try:
        token = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        token = ""
    if not token:
        token = secrets.token_urlsafe(TOKEN_BYTES)
        write_private(path, token + "\n")
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


def require_internal(request: Request, authorization: Annotated[str | None, Header()] = None) -> None:
    """Lets only the internal token pass: as bearer, or as password (with any user) in an address.

    Raises:
        TokenError: `token_missing` or `token_wrong`.
    """
    token = _bearer_or_password(authorization or "")
    if not token:
        raise TokenError(
            "token_missing",
            "This address needs the internal token.",
            "Send it as Authorization: Bearer TOKEN, or as password in the address.",
            BASIC_OR_BEARER,
        )
    expected: str = request.app.state.control.internal_token
    if not hmac.compare_digest(token.encode(), expected.encode()):
        raise TokenError(
            "token_wrong",
            "This internal token is not valid.",
            "Read it from internal-token in the data directory.",
            BASIC_OR_BEARER,
        )


def _bearer_or_password(authorization: str) -> str:
    scheme, _, value = authorization.partition(" ")
    match scheme.lower():
        case "bearer":
            return value.strip()
        case "basic":
            try:
                credentials = base64.b64decode(value.strip(), validate=True).decode("utf-8")
            except (binascii.Error, UnicodeDecodeError):
                return ""
            return credentials.partition(":")[2]
    return ""


AdminOnly = Depends(require_admin)
InternalOnly = Depends(require_internal)
