"""Who asks, and whether that is enough: cookies, tokens, and the internal listener's own token.

A route takes `WhoAsks` to decide by itself, or `SignedIn`, `AdminOnly` or `needs(scope)` to be asked only by those.
"""

import base64
import binascii
import hmac
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Header, Request
from fastapi.security import APIKeyCookie, HTTPBearer

from tallylight.accounts.identity import ANONYMOUS, ROLE_SCOPES, ROLES, Identity, Scope
from tallylight.errors import TallylightError
from tallylight.paths import write_private

if TYPE_CHECKING:
    from tallylight.accounts.accounts import Accounts

TOKEN_BYTES = 32

BEARER = 'Bearer realm="tallylight"'
# Basic comes first: FFmpeg reads the first scheme of the header only, and it cannot do Bearer from an address.
BASIC_OR_BEARER = f'Basic realm="tallylight", {BEARER}'

# `__Host-`: browsers take it only over TLS (or from this host itself), for this host alone, and for every path.
COOKIE = "__Host-tallylight"
# No form and no link of a foreign site can send a header of its own.
REQUEST_HEADER = "x-tallylight-request"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class TokenError(TallylightError):
    """The request does not prove that it may do this."""

    def __init__(self, code: str, message: str, fix: str, challenge: str = BEARER) -> None:
        super().__init__(code, message, fix)
        self.challenge = challenge


class NotAllowedError(TallylightError):
    """Who asks is known, and may not."""

    def __init__(self, message: str) -> None:
        super().__init__("not_allowed", message)


class CsrfError(TallylightError):
    """A change by cookie that a foreign page may have caused."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__("csrf_refused", message, fix)


async def identify(request: Request) -> Identity:
    """Who asks. A bearer token counts before a cookie; one that is not valid makes nobody of who sent it.

    Raises:
        CsrfError: A change by cookie without proof that a page of ours asks for it.
    """
    accounts: Accounts = request.app.state.control.accounts
    token = _bearer(request.headers.get("authorization", ""))
    if token:
        return await accounts.by_token(token)
    cookie = request.cookies.get(COOKIE)
    if not cookie:
        return ANONYMOUS
    who = await accounts.by_cookie(cookie, remote_ip(request))
    if who.role is not None and request.method not in SAFE_METHODS:
        refuse_foreign_page(request)
        if REQUEST_HEADER not in request.headers:
            raise CsrfError(
                "A change with the cookie needs the header X-Tallylight-Request.", "Send it with the value 1."
            )
    return who


WhoAsks = Annotated[Identity, Depends(identify)]

# They only describe: what is sent is read by `identify`.
_described = [
    Depends(HTTPBearer(auto_error=False, description="An API token, or the admin token.")),
    Depends(APIKeyCookie(name=COOKIE, auto_error=False, description="From `POST /api/session`.")),
]


def require(who: Identity, scope: Scope | None) -> None:
    """Lets pass who has this scope; without one, everybody who is known.

    Raises:
        TokenError: `sign_in_needed` or `token_wrong`.
        NotAllowedError: The role or the token is not enough; says which would be.
    """
    if who.role is None:
        raise _unknown(who)
    if scope is not None and scope not in who.scopes:
        raise NotAllowedError(_what_is_missing(who, scope))


def needs(scope: Scope | None) -> Any:
    """A dependency that gives the Identity of who asks, and refuses who has not this scope; None: who is nobody."""

    async def check(
        who: WhoAsks, _bearer: Annotated[Any, _described[0]], _cookie: Annotated[Any, _described[1]]
    ) -> Identity:
        require(who, scope)
        return who

    return Depends(check)


SignedIn = Annotated[Identity, needs("read")]
AdminOnly = needs("admin")


def refuse_foreign_page(request: Request) -> None:
    """Refuses what a page of another site caused.

    Raises:
        CsrfError: The browser says so itself, or it names another origin than the one it was sent to.
    """
    headers = request.headers
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    # What the browser says itself holds also where a proxy has changed the Host header.
    elsewhere = origin is not None and _host_of(origin) != headers.get("host", "").lower()
    foreign = site == "cross-site" or (elsewhere and site != "same-origin")
    if foreign:
        raise CsrfError("This request comes from a page of another site.", "Use the pages of this server.")


def remote_ip(request: Request) -> str:
    """The client's address as the engine's front tells it; `local` for who is on the Unix socket itself."""
    # The front replaces what clients claim, so the last address is the one it saw or was told by a trusted proxy.
    return request.headers.get("x-forwarded-for", "local").rpartition(",")[2].strip()


def _host_of(origin: str) -> str | None:
    """Host and port of an origin; None for `null` and for what is none."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


def _unknown(who: Identity) -> TokenError:
    if who.refused:
        return TokenError("token_wrong", "This token is not valid, has expired or was revoked.", "Make a new one.")
    return TokenError(
        "sign_in_needed", "This needs a sign-in.", "Sign in, or send a token as Authorization: Bearer TOKEN."
    )


def _what_is_missing(who: Identity, scope: Scope) -> str:
    enough = [role for role in ROLES if scope in ROLE_SCOPES[role]]
    if who.role not in enough:
        return f"This needs the role {' or '.join(enough)}."
    return f"This needs a token with the scope {scope}."


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


def _bearer(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


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


InternalOnly = Depends(require_internal)
