"""Requests to addresses that others typed: which are refused, and that a check holds until the connection."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import httpx
import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from tallylight.outbound import (
    FORBIDDEN,
    MAX_URL_LENGTH,
    AddressRefusedError,
    Answer,
    OutboundClient,
    OutboundError,
    UrlError,
    is_forbidden,
    parse_url,
)

DEADLINE_S = 5
LOOPBACK = [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")]

# The list of the hardening rules, written down a second time on purpose.
PRIVATE_V4 = [
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
        "224.0.0.0/4", "240.0.0.0/4",
    )
]  # fmt: skip
PRIVATE_V6 = [
    ipaddress.IPv6Network(text)
    for text in ("::/128", "::1/128", "fc00::/7", "fe80::/10", "::ffff:0:0/96", "64:ff9b::/96", "2002::/16")
]


def addresses_in(networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> st.SearchStrategy[str]:
    def within(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> st.SearchStrategy[str]:
        return st.integers(0, network.num_addresses - 1).map(lambda number: str(network[number]))

    return st.sampled_from(list(networks)).flatmap(within)


@given(addresses_in([*PRIVATE_V4, *PRIVATE_V6]))
def test_every_private_address_is_forbidden(text: str) -> None:
    assert is_forbidden(ipaddress.ip_address(text), ())


@given(addresses_in(PRIVATE_V4))
def test_no_ipv6_form_hides_a_private_ipv4_address(text: str) -> None:
    inner = int(ipaddress.IPv4Address(text))
    forms = [
        inner,  # ::a.b.c.d
        0xFFFF << 32 | inner,  # mapped
        0xFFFF << 48 | inner,  # translated
        0x0064FF9B << 96 | inner,  # NAT64
        0x2002 << 112 | inner << 80,  # 6to4
        0x20010000 << 96 | (inner ^ 0xFFFFFFFF),  # Teredo
    ]
    assert all(is_forbidden(ipaddress.IPv6Address(form), ()) for form in forms)


@given(st.ip_addresses())
def test_what_the_standard_library_calls_private_is_forbidden(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if not address.is_global or address.is_multicast:
        assert is_forbidden(address, ())


@pytest.mark.parametrize("text", ["8.8.8.8", "172.15.255.255", "172.32.0.0", "2606:4700::1111", "2a00:1450::1"])
def test_public_addresses_are_not_forbidden(text: str) -> None:
    assert not is_forbidden(ipaddress.ip_address(text), ())


@given(st.ip_addresses())
def test_only_allowed_networks_make_an_exception(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert not is_forbidden(address, [ipaddress.ip_network(address)])
    others = [network for network in FORBIDDEN if address not in network]
    assert is_forbidden(address, others) == is_forbidden(address, ())


@pytest.mark.parametrize(
    "text",
    [
        "file:///etc/passwd",
        "gopher://example.com/",
        "ftp://example.com/",
        "//example.com/",
        "example.com",
        "https://",
        "https:///path",
        "http://user:password@example.com/",
        "http://user@example.com/",
        "http://example.com/#part",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http://[::1/",
        "http://exam ple.com/",
        "http://example.com/\r\nHost: other",
        "https://example.com/" + "x" * MAX_URL_LENGTH,
        "",
    ],
)
def test_what_is_no_web_address_is_refused(text: str) -> None:
    with pytest.raises(UrlError):
        parse_url(text)


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    for candidate in (text, f"http://{text}", f"https://{text}/"):
        try:
            url = parse_url(candidate)
        except UrlError:
            continue
        assert url.scheme in ("http", "https")
        assert url.host


@dataclass
class Receiver:
    """A listener that notes who knocks; answers with `answer`."""

    answer: bytes = b"HTTP/1.1 204 No Content\r\n\r\n"
    knocks: int = 0
    requests: list[bytes] = field(default_factory=list)
    port: int = 0
    connections: set[asyncio.StreamWriter] = field(default_factory=set)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.knocks += 1
        self.connections.add(writer)
        try:
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self.answer)
            await writer.drain()
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def receiving(receiver: Receiver, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    server = await asyncio.start_server(receiver.handle, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    async with server:
        yield receiver
        for writer in receiver.connections:
            writer.close()


class Names:
    """A resolver whose answers change from one question to the next; the last one stays."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, _port: int) -> list[str]:
        self.asked.append(host)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


async def post(client: OutboundClient, url: str) -> Answer:
    return await client.post(parse_url(url), b"{}", {"X-Test": "1"}, DEADLINE_S)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "0",
        "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
        "[::127.0.0.1]", "127.0.0.1.", "LOCALHOST", "\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021",
        "169.254.169.254", "10.0.0.1",
    ],
)  # fmt: skip
async def test_no_spelling_of_a_private_address_is_reached(host: str) -> None:
    # With a dot at its end it is a name, and no name server is asked here.
    resolve = Names(["127.0.0.1"]) if host.endswith(".") else None
    async with receiving(Receiver()) as canary, OutboundClient(resolve=resolve) as client:
        url = f"http://{host}:{canary.port}/"
        try:
            parsed = parse_url(url)
        except UrlError:
            return
        with pytest.raises(AddressRefusedError):
            await client.check(parsed, DEADLINE_S)
        with pytest.raises(AddressRefusedError):
            await post(client, url)
        assert canary.knocks == 0


async def test_one_private_address_among_public_ones_is_enough() -> None:
    async with OutboundClient(resolve=Names(["8.8.8.8", "192.168.0.1"])) as client:
        with pytest.raises(AddressRefusedError) as refusal:
            await post(client, "http://mixed.example/")
        assert refusal.value.reason == "address_forbidden"


@pytest.mark.parametrize("own", ["8.8.8.8", "2606:4700::1111"])
async def test_a_public_address_of_this_host_is_refused_unless_it_is_allowed(
    own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = socket.AF_INET6 if ":" in own else socket.AF_INET
    entries = [
        SimpleNamespace(family=psutil.AF_LINK, address="00:00:5e:00:53:01"),
        SimpleNamespace(family=socket.AF_INET6, address="fe80::1%eth0"),
        SimpleNamespace(family=family, address=own),
    ]
    url = parse_url("http://this-host.example/")
    async with OutboundClient(resolve=Names([own])) as client:
        await client.check(url, DEADLINE_S)
        monkeypatch.setattr(psutil, "net_if_addrs", lambda: {"eth0": entries})
        with pytest.raises(AddressRefusedError) as refusal:
            await client.check(url, DEADLINE_S)
        assert refusal.value.reason == "address_forbidden"
    async with OutboundClient([ipaddress.ip_network(own)], resolve=Names([own])) as client:
        await client.check(url, DEADLINE_S)


async def test_a_name_that_changes_its_answer_is_refused_at_use() -> None:
    names = Names(["8.8.8.8"], ["127.0.0.1"])
    async with receiving(Receiver()) as canary, OutboundClient(resolve=names) as client:
        url = f"http://rebind.example:{canary.port}/"
        await client.check(parse_url(url), DEADLINE_S)
        with pytest.raises(AddressRefusedError):
            await post(client, url)
        assert canary.knocks == 0


async def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """One question per request; nothing after it asks the system, whose answer would be another."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a name was resolved a second time")

    names = Names(["127.0.0.1"], ["192.0.2.1"])
    async with receiving(Receiver()) as receiver, OutboundClient(LOOPBACK, resolve=names) as client:
        loop_ask = asyncio.get_running_loop().getaddrinfo

        async def only_numbers(host: str, *arguments: object, **options: object) -> object:
            ipaddress.ip_address(host)
            return await loop_ask(host, *arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", only_numbers)
        answer = await post(client, f"http://hooks.example:{receiver.port}/path?x=1")
        assert (answer.status_code, names.asked) == (204, ["hooks.example"])
    (request,) = receiver.requests
    assert request.startswith(b"POST /path?x=1 HTTP/1.1\r\n")
    assert f"Host: hooks.example:{receiver.port}\r\n".encode() in request


async def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    async with receiving(Receiver()) as canary:
        moved = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/\r\n\r\n" % canary.port
        async with receiving(Receiver(moved)) as receiver, OutboundClient(LOOPBACK) as client:
            assert (await post(client, f"http://127.0.0.1:{receiver.port}/")).status_code == 302
        assert canary.knocks == 0


async def test_no_host_is_sent_the_cookies_of_another() -> None:
    baker = Receiver(b"HTTP/1.1 204 No Content\r\nSet-Cookie: session=secret\r\n\r\n")
    async with receiving(baker), OutboundClient(LOOPBACK, resolve=Names(["127.0.0.1"])) as client:
        await post(client, f"http://one.example:{baker.port}/")
        await post(client, f"http://two.example:{baker.port}/")
    assert [b"cookie" in request.lower() for request in baker.requests] == [False, False]


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving(Receiver()) as proxy, receiving(Receiver()) as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with OutboundClient(LOOPBACK) as client:
            assert (await post(client, f"http://127.0.0.1:{receiver.port}/")).status_code == 204
        assert proxy.knocks == 0


async def test_an_answer_without_end_is_not_read() -> None:
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\nRetry-After: 7\r\n\r\n" + b"x" * 100_000
    async with receiving(Receiver(endless)) as receiver, OutboundClient(LOOPBACK) as client:
        assert await post(client, f"http://127.0.0.1:{receiver.port}/") == Answer(200, "7")


@pytest.mark.parametrize(
    ("answer", "code", "deadline_s"),
    [
        (b"SSH-2.0-OpenSSH\r\n\r\n", "answer_malformed", DEADLINE_S),
        (b"", "timeout", 0.2),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "timeout", 0.2),
    ],
)
async def test_no_answer_has_a_code(answer: bytes, code: str, deadline_s: float) -> None:
    async with receiving(Receiver(answer)) as receiver, OutboundClient(LOOPBACK) as client:
        with pytest.raises(OutboundError) as refusal:
            await client.post(parse_url(f"http://127.0.0.1:{receiver.port}/"), b"", {}, deadline_s)
        assert refusal.value.code == code


async def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    async with receiving(Receiver()) as receiver:
        async with OutboundClient(LOOPBACK, resolve=Names(["127.0.0.2", "127.0.0.1"])) as client:
            assert (await post(client, f"http://two.example:{receiver.port}/")).status_code == 204
        async with OutboundClient(LOOPBACK, resolve=Names(["127.0.0.2"])) as client:
            with pytest.raises(OutboundError) as refusal:
                await post(client, f"http://one.example:{receiver.port}/")
            assert refusal.value.code == "connect_failed"


async def test_an_unknown_name_and_a_private_one_read_alike() -> None:
    """Else the sentence would tell a stranger which names exist inside."""

    async def unknown(_host: str, _port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    sentences = []
    for resolve in (unknown, Names(["10.0.0.1"]), Names([])):
        async with OutboundClient(resolve=resolve) as client:
            with pytest.raises(AddressRefusedError) as refusal:
                await post(client, "http://inside.example/")
            sentences.append(refusal.value.sentence())
    assert len(set(sentences)) == 1


def certificate_for(name: str, directory: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a fresh certificate, and a client's that trusts nothing else."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = directory / "certificate.pem"
    path.write_bytes(private + certificate.public_bytes(encoding))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    return server, ssl.create_default_context(cafile=str(path))


async def test_the_certificate_must_be_the_hosts(tmp_path: Path) -> None:
    server, trust = certificate_for("hooks.example", tmp_path)
    names = Names(["127.0.0.1"])
    async with receiving(Receiver(), server) as receiver:
        async with OutboundClient(LOOPBACK, resolve=names, tls=trust) as client:
            assert (await post(client, f"https://hooks.example:{receiver.port}/")).status_code == 204
            with pytest.raises(OutboundError) as other_host:
                await post(client, f"https://other.example:{receiver.port}/")
        async with OutboundClient(LOOPBACK, resolve=names) as client:
            with pytest.raises(OutboundError) as nobody_trusts_it:
                await post(client, f"https://hooks.example:{receiver.port}/")
    assert (other_host.value.code, nobody_trusts_it.value.code) == ("tls_failed", "tls_failed")


async def test_a_slow_name_server_does_not_pass_the_deadline() -> None:
    async def never(_host: str, _port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    async with OutboundClient(resolve=never) as client:
        with pytest.raises(OutboundError) as refusal:
            await client.post(httpx.URL("http://slow.example/"), b"", {}, 0.05)
        assert refusal.value.code == "timeout"
        with pytest.raises(AddressRefusedError):
            await client.check(httpx.URL("http://slow.example/"), 0.05)
