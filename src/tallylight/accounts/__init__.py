"""Who may do what: users and their passwords, browsers that are signed in, tokens of programs.

`identity` says what each role and scope allows (pure); the stores keep the rest in the database, secrets as hashes.
"""

from tallylight.accounts.accounts import Accounts
from tallylight.accounts.identity import ANONYMOUS, Identity, Role, Scope

__all__ = ["ANONYMOUS", "Accounts", "Identity", "Role", "Scope"]
