"""`tallylight.toml`: the shipped file is the defaults; the environment wins; mistakes are named."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tallylight.cli import app
from tallylight.config import Settings, effective_settings, load_settings
from tallylight.config_file import CONFIG_VARIABLE, reference
from tallylight.errors import StartError

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a configuration file and makes it the one that applies."""

    def write(text: str) -> Path:
        path = tmp_path / "tallylight.toml"
        path.write_text(text)
        monkeypatch.setenv(CONFIG_VARIABLE, str(path))
        return path

    return write


def test_the_reference_lists_every_setting_with_its_default(write: Write) -> None:
    values = tomllib.loads(reference())
    assert set(values) == set(Settings.model_fields)
    without_file = Settings()
    write(reference())
    assert load_settings() == without_file


def test_every_setting_of_the_reference_is_explained() -> None:
    lines = reference().splitlines()
    for number, line in enumerate(lines):
        name = line.partition(" = ")[0]
        if name in Settings.model_fields:
            above = [text for text in lines[max(0, number - 4) : number] if text.startswith("#")]
            assert above, f"nothing above {name} says what it is"


def test_the_environment_wins_over_the_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write('http_port = 9000\nrtmp_port = 9001\npublic_ips = ["192.0.2.1"]\n')
    monkeypatch.setenv("TALLYLIGHT_RTMP_PORT", "9002")
    settings = load_settings()
    assert (settings.http_port, settings.rtmp_port) == (9000, 9002)
    origins = {each.name: each.origin for each in effective_settings(settings)}
    assert origins["http_port"] == str(path)
    assert origins["rtmp_port"] == "TALLYLIGHT_RTMP_PORT"
    assert origins["webrtc_port"] == "default"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("http_prt = 1", "http_prt, which is no setting; http_port was probably meant"),
        ("http_port = 'x'", "http_port in "),
        ("http_port = ", "is not TOML"),
        ("[[bootstrap_streams]]\nname = 'Main!'\nkey = 'k'", "bootstrap_streams in "),
        ("[[ice_servers]]\nurls = ['turn:a']\nsecret = 's'\nusername = 'u'", "either secret, or username"),
    ],
)
def test_mistakes_are_named(write: Write, text: str, said: str) -> None:
    write(text)
    with pytest.raises(StartError) as error:
        load_settings()
    assert error.value.code == "config_invalid"
    assert said in error.value.message


def test_a_file_that_was_named_must_exist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "nowhere.toml"))
    with pytest.raises(StartError, match=r"nowhere\.toml"):
        load_settings()


def test_no_secret_is_shown(write: Write) -> None:
    write(
        "bootstrap_streams = [{ name = 'main', key = 'hush-key' }]\n"
        "ice_servers = [{ urls = ['turn:a'], secret = 'hush-secret' }]\n"
    )
    for arguments in (["config"], ["config", "--json"]):
        printed = CliRunner().invoke(app, arguments)
        assert printed.exit_code == 0, printed.output
        assert "hush" not in printed.output
        assert "(hidden)" in printed.output
    assert "hush" not in repr(load_settings())


def test_config_says_what_applies_and_why(write: Write) -> None:
    path = write("reconnect_window_s = 5\n")
    printed = json.loads(CliRunner().invoke(app, ["config", "--json"]).output)
    assert printed["reconnect_window_s"] == {"value": 5, "from": str(path)}
    assert printed["http_port"] == {"value": 8080, "from": "default"}
    assert CliRunner().invoke(app, ["config", "--reference"]).output == reference()
