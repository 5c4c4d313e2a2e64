"""How much the coordinator does for strangers: a little at a time for each address, and in all."""

import ipaddress
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

_MOST_ADDRESSES = 4096  # remembered at once; the bound on all of them together does not forget
_IPV6_PREFIX = 64  # what one customer has; its addresses are his to change


@dataclass
class _Bucket:
    level: float
    filled: float


class Throttle:
    """A token bucket for each address and one for all.

    Args:
        rate: Requests a second that one address may go on asking.
        burst: Requests that it may ask at once.
        crowd: How many addresses at their limit make the limit of all.
    """

    def __init__(self, *, rate: float, burst: float, crowd: float = 10.0) -> None:
        self._rate, self._burst, self._crowd = rate, burst, crowd
        self._all = _Bucket(burst * crowd, time.monotonic())
        self._each: OrderedDict[str, _Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def admit(self, address: str) -> float:
        """Take one request of ``address``; returns 0, or the seconds until the next may come."""
        now = time.monotonic()
        with self._lock:
            key = _network(address)
            own = self._each.pop(key, None) or _Bucket(self._burst, now)
            self._each[key] = own
            if len(self._each) > _MOST_ADDRESSES:
                self._each.popitem(last=False)
            wait = self._fill(own, now, 1.0)
            if wait or (wait := self._fill(self._all, now, self._crowd)):
                return wait
            own.level -= 1
            self._all.level -= 1
            return 0.0

    def _fill(self, bucket: _Bucket, now: float, times: float) -> float:
        rate = self._rate * times
        bucket.level = min(self._burst * times, bucket.level + (now - bucket.filled) * rate)
        bucket.filled = now
        return 0.0 if bucket.level >= 1 else (1 - bucket.level) / rate


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return "unknown"
    if parsed.version == 4:
        return str(parsed)
    return str(ipaddress.ip_network((parsed, _IPV6_PREFIX), strict=False))
