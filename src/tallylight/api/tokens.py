"""`/api/tokens`: what lets programs act for a user."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Self

from fastapi import APIRouter, Depends, Path, Query, Response, status
from pydantic import BaseModel, ConfigDict, Field

from tallylight.accounts.accounts import role_of
from tallylight.accounts.identity import ROLE_SCOPES, Identity, Scope
from tallylight.accounts.tokens import TokenUnknownError, scopes_of
from tallylight.api.auth import NotAllowedError, SignedIn, needs
from tallylight.api.control import Control, ControlPlane
from tallylight.api.problems import answers
from tallylight.config import ONE_LINE_PATTERN
from tallylight.db import ApiToken, User

router = APIRouter(prefix="/api/tokens", tags=["tokens"])

# Longer is as good as for ever, which is possible too.
MAX_LIFE_DAYS = 3650

OfUser = Annotated[str | None, Query(max_length=256, description="Whose tokens; for administrators.", examples=["ada"])]


async def _person(who: Annotated[Identity, needs(None)]) -> Identity:
    """A token of a program must not beget others, which would outlive it; that takes a person or an administrator."""
    if who.via == "token" and not who.is_admin:
        raise NotAllowedError("Tokens are made and revoked after signing in, or with a token of the scope admin.")
    return who


Person = Annotated[Identity, Depends(_person)]


class NewApiToken(BaseModel):
    """What to create. Without `expires_in_days` it is valid until it is revoked."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=ONE_LINE_PATTERN, examples=["statistics"])]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=16, examples=[["read"]])]
    expires_in_days: Annotated[int | None, Field(ge=1, le=MAX_LIFE_DAYS, examples=[90])] = None


class TokenView(BaseModel):
    """A token, without its secret."""

    id: str
    name: Annotated[str, Field(examples=["statistics"])]
    user: Annotated[str, Field(examples=["ada"])]
    scopes: list[Scope]
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None

    @classmethod
    def of(cls, token: ApiToken, user: str) -> Self:
        return cls(
            id=token.id,
            name=token.name,
            user=user,
            scopes=sorted(scopes_of(token)),
            created_at=token.created_at,
            last_used_at=token.last_used_at,
            expires_at=token.expires_at,
        )


class TokenWithSecret(TokenView):
    """A new token; `token` is never shown again."""

    token: Annotated[str, Field(examples=["tly_…"])]


class TokenList(BaseModel):
    tokens: list[TokenView]


@router.get("", responses=answers("user_unknown"))
async def list_tokens(who: SignedIn, control: ControlPlane, user: OfUser = None) -> TokenList:
    """One's own tokens, or another user's."""
    owner = await _owner(who, user, control)
    found = await control.accounts.tokens.of(owner.id)
    return TokenList(tokens=[TokenView.of(token, owner.name) for token in found])


@router.post("", status_code=status.HTTP_201_CREATED, responses=answers("user_unknown", "too_many_tokens"))
async def create_token(
    wanted: NewApiToken, who: Person, control: ControlPlane, response: Response, user: OfUser = None
) -> TokenWithSecret:
    """Makes a token. Its secret is in this answer and nowhere else."""
    owner = await _owner(who, user, control)
    beyond = set(wanted.scopes) - ROLE_SCOPES[role_of(owner)]
    if beyond:
        raise NotAllowedError(f"A token cannot have more than its user: {', '.join(sorted(beyond))}.")
    life = None if wanted.expires_in_days is None else timedelta(days=wanted.expires_in_days)
    new = await control.accounts.tokens.create(owner, wanted.name, wanted.scopes, datetime.now(UTC), life, asker=who)
    response.headers["Location"] = f"/api/tokens/{new.token.id}"
    return TokenWithSecret(**TokenView.of(new.token, owner.name).model_dump(), token=new.secret)


@router.delete("/{token_id}", status_code=status.HTTP_204_NO_CONTENT, responses=answers("token_unknown"))
async def revoke_token(token_id: Annotated[str, Path(max_length=64)], who: Person, control: ControlPlane) -> None:
    """Revokes a token at once."""
    token = await control.accounts.tokens.get(token_id)
    if not (token.user_id == who.user_id or who.is_admin):
        # As if there were none: ids of others' tokens are none of one's business.
        raise TokenUnknownError
    await control.accounts.tokens.revoke(token)


async def _owner(who: Identity, wanted: str | None, control: Control) -> User:
    name = who.name if wanted is None else wanted
    if name is None:
        raise NotAllowedError("The admin token is no user; name one with ?user=.")
    if name != who.name and not who.is_admin:
        raise NotAllowedError("Tokens of others are for the role admin, with a token of the scope admin.")
    return await control.accounts.users.get(name)
