"""The one way out: HTTP requests to addresses that other people typed.

A name is resolved once, every address it has is checked, and the connection goes to a checked address itself: a name
that answers differently a moment later changes nothing. No redirect is followed and no proxy of the environment used.
Source: OWASP ASVS 5.0, 13.2.4, 13.2.5 and 15.3.2.
"""

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx
import psutil

from tallylight import __version__
from tallylight.errors import TallylightError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# Host and port in, addresses out, best first; OSError when there is none.
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]

MAX_URL_LENGTH = 2000
# A name of DNS in its own letters, an address, or a number that stands for one; the check comes after the look-up.
HOST = re.compile(r"[A-Za-z0-9._:-]+")
# Of a host with many addresses the first few are tried; each may take a part of the deadline.
MAX_TRIED = 4
CONNECT_TIMEOUT_S = 5.0
# Look-ups wait in threads of their own: a slow name server holds up nobody else.
RESOLVER_THREADS = 32

# Addresses that mean this host, its network, or nobody (IANA special-purpose registries). Every IPv6 form that carries
# an IPv4 address is among them, so none hides there.
FORBIDDEN: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, with the clouds' metadata services
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
        "::/96",  # this host, unspecified, IPv4-compatible
        "::ffff:0:0/96",  # IPv4-mapped
        "::ffff:0:0:0/96",  # IPv4-translated
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",  # NAT64, local
        "100::/64",  # discard
        "2001::/23",  # Teredo and other protocols
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
        "fc00::/7",  # private
        "fe80::/10",  # link-local
        "fec0::/10",  # site-local
        "ff00::/8",  # multicast
    )
)


class UrlError(TallylightError):
    """The text is no address that a request could go to."""

    def __init__(self, message: str) -> None:
        super().__init__("url_invalid", message)


class AddressRefusedError(TallylightError):
    """No request goes to this host. What people read does not say why: it would tell names and addresses inside.

    Attributes:
        reason: `host_unknown` or `address_forbidden`, for the operator's log.
    """

    def __init__(self, host: str, reason: str) -> None:
        super().__init__(
            "address_refused",
            f"The host {host!r} has no address that this server may send to.",
            "Use a public host; an administrator can allow networks with TALLYLIGHT_WEBHOOK_ALLOW_PRIVATE.",
        )
        self.host = host
        self.reason = reason


class OutboundError(TallylightError):
    """No answer: `connect_failed`, `tls_failed`, `timeout` or `answer_malformed`."""


@dataclass(frozen=True)
class Answer:
    """What came back; the body is never read."""

    status_code: int
    retry_after: str | None


def is_forbidden(address: Address, allowed: Sequence[Network], own: Container[Address] = ()) -> bool:
    """Whether nothing is sent to this address; networks that the operator allowed come first.

    Args:
        own: This host's addresses, public ones too: a firewall often trusts what comes from its own host.
    """
    if any(address in network for network in allowed if network.version == address.version):
        return False
    return address in own or any(address in network for network in FORBIDDEN if network.version == address.version)


def parse_url(text: str) -> httpx.URL:
    """An absolute http or https address without credentials.

    Raises:
        UrlError: With the rule that it breaks.
    """
    if len(text) > MAX_URL_LENGTH:
        raise UrlError(f"The address has more than {MAX_URL_LENGTH} characters.")
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise UrlError("This is not an address of the form https://host/path.") from error
    if url.scheme not in ("http", "https"):
        raise UrlError("The address must begin with https:// or http://.")
    if not HOST.fullmatch(url.raw_host.decode("ascii")) or not 0 < (443 if url.port is None else url.port) < 2**16:
        raise UrlError("The address names no host that could be connected to.")
    if url.userinfo:
        raise UrlError("The address must not hold a user or password; put a token into its path or query.")
    if url.fragment:
        raise UrlError("The address must not have a part after #.")
    return url


class OutboundClient:
    """Sends requests to checked addresses only. Use it as an async context manager."""

    def __init__(
        self,
        allowed: Sequence[Network] = (),
        *,
        resolve: Resolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """
        Args:
            allowed: Networks that may be reached although they are private.
            resolve: Another resolver than the system's.
            tls: Other trust than the public authorities.
        """
        self._allowed = tuple(allowed)
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolver")
        self._resolve = resolve or self._ask_system
        self._http = httpx.AsyncClient(
            verify=tls or True,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),
            # A connection is named by its address, and two hosts may share one: none is used for a second request.
            limits=httpx.Limits(max_keepalive_connections=0),
            headers={"User-Agent": f"Tallylight/{__version__}", "Accept": "*/*"},
            # None is kept either: by address, one host would be sent those of another.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        )

    async def __aenter__(self) -> "OutboundClient":
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._http.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def check(self, url: httpx.URL, deadline_s: float) -> None:
        """Whether a request could go there now.

        Raises:
            AddressRefusedError: The host has no address, or one that is forbidden.
        """
        try:
            async with asyncio.timeout(deadline_s):
                await self._addresses(url)
        except TimeoutError as error:
            raise AddressRefusedError(url.host, "host_unknown") from error

    async def post(self, url: httpx.URL, content: bytes, headers: Mapping[str, str], deadline_s: float) -> Answer:
        """Sends once, within the deadline; any status is an answer.

        Raises:
            AddressRefusedError, OutboundError
        """
        try:
            async with asyncio.timeout(deadline_s):
                addresses = await self._addresses(url)
                return await self._post_to_first(addresses[:MAX_TRIED], url, content, headers)
        except TimeoutError as error:
            raise OutboundError("timeout", f"No answer within {deadline_s:g} s.") from error

    async def _addresses(self, url: httpx.URL) -> list[Address]:
        """All addresses of the host, none of them forbidden or this host's own."""
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            found = [ipaddress.ip_address(text) for text in await self._resolve(url.raw_host.decode("ascii"), port)]
            own = await asyncio.get_running_loop().run_in_executor(self._threads, _own_addresses)
        except (OSError, UnicodeError, ValueError) as error:
            raise AddressRefusedError(url.host, "host_unknown") from error
        if not found:
            raise AddressRefusedError(url.host, "host_unknown")
        if any(is_forbidden(address, self._allowed, own) for address in found):
            raise AddressRefusedError(url.host, "address_forbidden")
        return found

    async def _post_to_first(
        self, addresses: Sequence[Address], url: httpx.URL, content: bytes, headers: Mapping[str, str]
    ) -> Answer:
        last: OutboundError | None = None
        for address in addresses:
            try:
                return await self._post_to(address, url, content, headers)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                last = _no_connection(error)
                last.__cause__ = error
            except httpx.RemoteProtocolError as error:
                raise OutboundError("answer_malformed", "What came back, if anything did, is not HTTP.") from error
            except httpx.TransportError as error:
                raise OutboundError("connect_failed", "The connection broke before an answer came.") from error
        raise last or OutboundError("connect_failed", "There is nothing to connect to.")

    async def _post_to(self, address: Address, url: httpx.URL, content: bytes, headers: Mapping[str, str]) -> Answer:
        request = self._http.build_request(
            "POST",
            url.copy_with(host=str(address)),
            content=content,
            headers={**headers, "Host": url.netloc.decode("ascii")},
            # The certificate must be the host's, not the address's.
            extensions={"sni_hostname": url.raw_host.decode("ascii")},
        )
        response = await self._http.send(request, stream=True)
        try:
            return Answer(response.status_code, response.headers.get("Retry-After"))
        finally:
            await response.aclose()

    async def _ask_system(self, host: str, port: int) -> list[str]:
        def ask() -> list[str]:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return list(dict.fromkeys(str(entry[4][0]) for entry in found))

        return await asyncio.get_running_loop().run_in_executor(self._threads, ask)


def _own_addresses() -> frozenset[Address]:
    """What this host's interfaces have now. Asks the system: call it in a thread."""
    texts = (
        entry.address.partition("%")[0]  # without the interface that a link-local address is of
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family in (socket.AF_INET, socket.AF_INET6)
    )
    return frozenset(ipaddress.ip_address(text) for text in texts)


def _no_connection(error: BaseException) -> OutboundError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return OutboundError("tls_failed", "The host's certificate is not valid for its name, or not trusted.")
        cause = cause.__cause__ or cause.__context__
    return OutboundError("connect_failed", "Nobody accepts connections at this address.")
