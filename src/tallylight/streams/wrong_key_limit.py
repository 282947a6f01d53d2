"""How often one address may be told "wrong key", and its refusals be noted. Pure: the time is an argument."""

from tallylight.rate import Buckets, network_of

# Someone pasting a key wrongly tries a handful of times; OBS with a wrong key retries about every 2 s up to 15 s.
TRIES = 10
# Memory bound: the addresses seen longest ago are forgotten first.
MAX_ADDRESSES = 10_000


class WrongKeyLimit:
    """A token bucket for each address; only wrong keys take from it, so a neighbour's mistakes lock nobody out."""

    def __init__(self) -> None:
        self._buckets = Buckets(TRIES, TRIES, MAX_ADDRESSES)

    def take(self, remote_ip: str, now_s: float) -> bool:
        """Counts one wrong key at a time in monotonic seconds; False when this address has used up its tries."""
        return self._buckets.take(network_of(remote_ip), now_s)
