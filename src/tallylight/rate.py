"""Token buckets: how often somebody may fail. Pure: the time is an argument."""

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass


@dataclass
class _Bucket:
    tokens: float
    filled_at_s: float


class Buckets:
    """A bucket of `tries` for each key, which fills up again at `tries_per_minute`.

    Memory is bounded: of more than `max_keys`, the one used longest ago is forgotten.
    """

    def __init__(self, tries: int, tries_per_minute: float, max_keys: int) -> None:
        self._tries = tries
        self._per_s = tries_per_minute / 60
        self._max_keys = max_keys
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, key: str, now_s: float) -> bool:
        """Counts one try.

        Args:
            now_s: Monotonic seconds.

        Returns:
            False when this key has used up its tries.
        """
        bucket = self._filled(key, now_s)
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def give_back(self, key: str, now_s: float) -> None:
        """Takes one try back: it was none."""
        bucket = self._filled(key, now_s)
        bucket.tokens = min(self._tries, bucket.tokens + 1)

    def _filled(self, key: str, now_s: float) -> _Bucket:
        bucket = self._buckets.pop(key, None) or _Bucket(self._tries, now_s)
        bucket.tokens = min(self._tries, bucket.tokens + (now_s - bucket.filled_at_s) * self._per_s)
        bucket.filled_at_s = now_s
        self._buckets[key] = bucket
        if len(self._buckets) > self._max_keys:
            self._buckets.popitem(last=False)
        return bucket


def network_of(remote_ip: str) -> str:
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
