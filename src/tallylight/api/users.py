"""`/api/users`: who may sign in. For administrators."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Path, Response, status
from pydantic import BaseModel, ConfigDict, Field

from tallylight.accounts.accounts import role_of
from tallylight.accounts.identity import Role
from tallylight.accounts.passwords import new_password
from tallylight.accounts.users import USER_NAME_PATTERN
from tallylight.api.auth import AdminOnly
from tallylight.api.control import ControlPlane
from tallylight.api.problems import answers
from tallylight.api.session import NewPassword
from tallylight.db import User

router = APIRouter(prefix="/api/users", tags=["users"], dependencies=[AdminOnly])

# Any text: a name that cannot exist is simply not found.
UserName = Annotated[str, Path(max_length=256, examples=["ada"])]


class NewUser(BaseModel):
    """Whom to create; without a password one is made up."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(pattern=USER_NAME_PATTERN, examples=["ada"])]
    role: Role
    password: Annotated[NewPassword | None, Field(repr=False)] = None


class UserChange(BaseModel):
    """What to change; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    role: Role | None = None
    password: Annotated[NewPassword | None, Field(repr=False)] = None
    disabled: bool | None = None


class UserView(BaseModel):
    """A user, without secrets."""

    name: Annotated[str, Field(examples=["ada"])]
    role: Role
    created_at: datetime
    last_seen_at: datetime | None
    disabled: bool

    @classmethod
    def of(cls, user: User) -> Self:
        return cls(
            name=user.name,
            role=role_of(user),
            created_at=user.created_at,
            last_seen_at=user.last_seen_at,
            disabled=user.disabled,
        )


class UserWithPassword(UserView):
    """A new user, with the password when it was made up: it is never shown again."""

    password: str | None


class UserList(BaseModel):
    users: list[UserView]


@router.get("")
async def list_users(control: ControlPlane) -> UserList:
    """All users by name."""
    return UserList(users=[UserView.of(user) for user in await control.accounts.users.all()])


@router.post("", status_code=status.HTTP_201_CREATED, responses=answers("user_exists", "server_busy"))
async def create_user(wanted: NewUser, control: ControlPlane, response: Response) -> UserWithPassword:
    """Makes a user. A password that was not given is made up, and is in this answer and nowhere else."""
    accounts = control.accounts
    made_up = new_password() if wanted.password is None else None
    password_hash = await accounts.passwords.hash(made_up or wanted.password or "")
    user = await accounts.users.create(wanted.name, wanted.role, password_hash)
    response.headers["Location"] = f"/api/users/{user.name}"
    return UserWithPassword(**UserView.of(user).model_dump(), password=made_up)


@router.patch("/{name}", responses=answers("user_unknown", "last_admin", "server_busy"))
async def change_user(name: UserName, change: UserChange, control: ControlPlane) -> UserView:
    """Changes role, password or whether the user may sign in; what it takes away ends at once, also what runs."""
    return UserView.of(await control.change_user(name, change.role, change.password, change.disabled))


@router.delete("/{name}", status_code=status.HTTP_204_NO_CONTENT, responses=answers("user_unknown", "last_admin"))
async def delete_user(name: UserName, control: ControlPlane) -> None:
    """Deletes a user. Their streams stay without an owner, off the air, with keys that nobody has."""
    await control.delete_user(name)
