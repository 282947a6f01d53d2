"""`/api/session`: signing in and out of a browser, and one's own password."""

from typing import Annotated

from fastapi import APIRouter, Request, Response, status
from pydantic import BaseModel, ConfigDict, Field

from tallylight.accounts.accounts import role_of
from tallylight.accounts.identity import Identity, Role
from tallylight.accounts.passwords import MAX_CHARACTERS, MIN_CHARACTERS
from tallylight.accounts.sessions import WHOLE_LIFE
from tallylight.api.auth import COOKIE, NotAllowedError, SignedIn, WhoAsks, refuse_foreign_page, remote_ip
from tallylight.api.control import ControlPlane
from tallylight.api.problems import answers

router = APIRouter(prefix="/api/session", tags=["session"])

NewPassword = Annotated[
    str, Field(min_length=MIN_CHARACTERS, max_length=MAX_CHARACTERS, examples=["correct horse battery"])
]


class Credentials(BaseModel):
    """Who wants to sign in."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=64, examples=["admin"])]
    password: Annotated[str, Field(max_length=MAX_CHARACTERS, repr=False, examples=["correct horse battery"])]


class PasswordChange(BaseModel):
    """The present password, and the next one."""

    model_config = ConfigDict(extra="forbid")

    old: Annotated[str, Field(max_length=MAX_CHARACTERS, repr=False, examples=["correct horse battery"])]
    new: Annotated[NewPassword, Field(repr=False)]


class Me(BaseModel):
    name: Annotated[str, Field(examples=["admin"])]
    role: Role


class Session(BaseModel):
    """Who is signed in."""

    user: Me


class MaybeSession(BaseModel):
    """Who is signed in, null for nobody."""

    user: Me | None


@router.get("")
async def get_session(who: WhoAsks) -> MaybeSession:
    """Who is signed in. The holder of the admin token is no user."""
    if who.name is None or who.role is None:
        return MaybeSession(user=None)
    return MaybeSession(user=Me(name=who.name, role=who.role))


@router.post("", responses=answers("password_wrong", "rate_limited", "csrf_refused", "server_busy"))
async def sign_in(wanted: Credentials, request: Request, response: Response, control: ControlPlane) -> Session:
    """Signs this browser in: the answer sets the cookie."""
    # Also without a cookie: nobody may sign a visitor in to an account of theirs.
    refuse_foreign_page(request)
    name = wanted.name.strip().lower()
    signed_in = await control.accounts.sign_in(name, wanted.password, remote_ip(request))
    response.set_cookie(
        COOKIE,
        signed_in.secret,
        max_age=int(WHOLE_LIFE.total_seconds()),
        path="/",
        secure=True,
        httponly=True,
        samesite="lax",
    )
    return Session(user=Me(name=signed_in.user.name, role=role_of(signed_in.user)))


@router.delete("", status_code=status.HTTP_204_NO_CONTENT, responses=answers("csrf_refused"))
async def sign_out(who: WhoAsks, response: Response, control: ControlPlane) -> None:
    """Ends this browser's session; fine when there is none."""
    if who.via == "cookie" and isinstance(who.credential, int):
        await control.accounts.sessions.end(who.credential)
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="lax")


@router.post(
    "/password",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=answers("password_wrong", "rate_limited", "csrf_refused", "server_busy"),
)
async def change_password(change: PasswordChange, who: SignedIn, request: Request, control: ControlPlane) -> None:
    """Changes one's own password, and ends one's other sessions."""
    _need_a_browser(who)
    await control.accounts.change_own_password(who, change.old, change.new, remote_ip(request))


def _need_a_browser(who: Identity) -> None:
    if who.via != "cookie":
        raise NotAllowedError("One's own password is changed after signing in with it, not with a token.")
