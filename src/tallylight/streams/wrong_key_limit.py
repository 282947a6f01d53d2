"""How often one address may be told "wrong key". Pure: the time is an argument."""

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

# Someone pasting a key wrongly tries a handful of times; OBS with a wrong key retries about every 2 s up to 15 s.
TRIES = 10
REFILL_PER_S = TRIES / 60
# Memory bound: the addresses seen longest ago are forgotten first.
MAX_ADDRESSES = 10_000


@dataclass
class _Bucket:
    tokens: float
    filled_at_s: float


class WrongKeyLimit:
    """A token bucket for each address; only wrong keys take from it, so a neighbour's mistakes lock nobody out."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, remote_ip: str, now_s: float) -> bool:
        """Counts one wrong key.

        Args:
            now_s: Monotonic seconds.

        Returns:
            False when this address has used up its tries.
        """
        network = _network(remote_ip)
        bucket = self._buckets.pop(network, None) or _Bucket(TRIES, now_s)
        bucket.tokens = min(TRIES, bucket.tokens + (now_s - bucket.filled_at_s) * REFILL_PER_S)
        bucket.filled_at_s = now_s
        self._buckets[network] = bucket
        if len(self._buckets) > MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True


def _network(remote_ip: str) -> str:
    """The unit that is limited: one IPv4 address, or an IPv6 /64 (what one subscriber gets)."""
    try:
        address = ipaddress.ip_address(remote_ip)
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address.packed[:8] + bytes(8), 64)))
    return str(address)
