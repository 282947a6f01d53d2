"""How often a wrong password may be tried. Pure: the time is an argument.

Each address has a bucket, and each account has one that only addresses pay into from which nobody has signed in to it
lately. So an attacker who comes from many addresses is slowed down, and still does not lock out who belongs here.
"""

from collections import OrderedDict

from tallylight.rate import Buckets, network_of

# A burst of 5 and 5 more a minute: never more than 10 in any minute (hardening rule), enough for a person who mistypes.
ADDRESS_TRIES = 5
# From all unknown addresses together; a family or a team behind several addresses stays below it.
ACCOUNT_TRIES = 20
# Memory bounds: the ones seen longest ago are forgotten first.
MAX_ADDRESSES = 10_000
MAX_ACCOUNTS = 10_000
MAX_KNOWN = 10_000


class SignInLimit:
    """Counts tries before the password is looked at, so that many at once count as many."""

    def __init__(self) -> None:
        self._addresses = Buckets(ADDRESS_TRIES, ADDRESS_TRIES, MAX_ADDRESSES)
        self._accounts = Buckets(ACCOUNT_TRIES, ACCOUNT_TRIES, MAX_ACCOUNTS)
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def take(self, remote_ip: str, account: str, now_s: float) -> bool:
        """Counts one try at a time in monotonic seconds; False when there are none left: do not look at the password.

        Whether the account exists makes no difference.
        """
        network = network_of(remote_ip)
        if not self._addresses.take(network, now_s):
            return False
        return (network, account) in self._known or self._accounts.take(account, now_s)

    def succeeded(self, remote_ip: str, account: str, now_s: float) -> None:
        """The password was right: the try is given back, and the address is known from now on."""
        network = network_of(remote_ip)
        self._addresses.give_back(network, now_s)
        if (network, account) not in self._known:
            self._accounts.give_back(account, now_s)
        self.seen(remote_ip, account)

    def seen(self, remote_ip: str, account: str) -> None:
        """Somebody who is signed in to this account uses this address."""
        key = (network_of(remote_ip), account)
        self._known[key] = None
        self._known.move_to_end(key)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
