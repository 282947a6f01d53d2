"""Settings: names, defaults, and refusals in words."""

import pytest

from tallylight.config import load_settings, socket_address, unknown_variables
from tallylight.errors import StartError


def test_defaults_are_the_documented_ones() -> None:
    settings = load_settings()
    assert (settings.http_port, settings.webrtc_port, settings.rtmp_port, settings.internal_port) == (
        8080,
        8080,
        1935,
        8081,
    )
    assert settings.data_dir.name == "data"
    assert settings.data_dir.is_absolute()
    assert settings.bootstrap_streams == ()
    assert settings.public_ips == ()


def test_lists_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLYLIGHT_PUBLIC_IPS", "192.0.2.1, 2001:db8::1")
    monkeypatch.setenv("TALLYLIGHT_BOOTSTRAP_STREAMS", "main:k1,second:k2")
    settings = load_settings()
    assert [str(address) for address in settings.public_ips] == ["192.0.2.1", "2001:db8::1"]
    assert [(stream.name, stream.key) for stream in settings.bootstrap_streams] == [("main", "k1"), ("second", "k2")]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("HTTP_PORT", "eighty", "TALLYLIGHT_HTTP_PORT"),
        ("HTTP_PORT", "0", "TALLYLIGHT_HTTP_PORT"),
        ("RTMP_PORT", "65536", "TALLYLIGHT_RTMP_PORT"),
        ("RTMP_PORT", "8080", "TALLYLIGHT_HTTP_PORT and TALLYLIGHT_RTMP_PORT are both 8080"),
        ("BIND", "localhost", "TALLYLIGHT_BIND"),
        ("PUBLIC_IPS", "192.0.2.1,nowhere", "TALLYLIGHT_PUBLIC_IPS"),
        ("TRUSTED_PROXIES", "10.0.0.1/8", "TALLYLIGHT_TRUSTED_PROXIES"),
        ("TRUSTED_PROXIES", "localhost", "TALLYLIGHT_TRUSTED_PROXIES"),
        ("BOOTSTRAP_STREAMS", "main", "name:key"),
        ("BOOTSTRAP_STREAMS", "Main:k", "a stream name has"),
        ("BOOTSTRAP_STREAMS", "main:a/b", "a stream key has"),
        ("BOOTSTRAP_STREAMS", "main:a,main:b", "names a stream twice"),
        ("BOOTSTRAP_STREAMS", "main:a,other:a", "the same key"),
        ("ICE_SERVERS", "stun:x", "ice_servers"),
    ],
)
def test_what_is_wrong_is_said(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    monkeypatch.setenv(f"TALLYLIGHT_{name}", value)
    with pytest.raises(StartError, match="not valid") as refusal:
        load_settings()
    assert refusal.value.code == "config_invalid"
    assert said in refusal.value.message
    assert refusal.value.fix


def test_keys_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLYLIGHT_BOOTSTRAP_STREAMS", "BAD NAME:secret-key-1,other:secret/key-2")
    with pytest.raises(StartError) as refusal:
        load_settings()
    assert "secret" not in refusal.value.sentence()
    monkeypatch.setenv("TALLYLIGHT_BOOTSTRAP_STREAMS", "main:secret-key")
    assert "secret" not in repr(load_settings())


def test_a_mistyped_variable_is_noticed() -> None:
    assert unknown_variables(["TALLYLIGHT_HTPP_PORT", "TALLYLIGHT_LOG", "TALLYLIGHT_HTTP_PORT", "HOME"]) == {
        "TALLYLIGHT_HTPP_PORT": "TALLYLIGHT_HTTP_PORT"
    }


def test_ipv6_addresses_get_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLYLIGHT_BIND", "::1")
    assert socket_address(load_settings().bind, 8080) == "[::1]:8080"
