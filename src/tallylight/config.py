"""Settings from the environment (`TALLYLIGHT_*`) and `tallylight.toml`, checked before anything starts."""

import difflib
import ipaddress
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from tallylight.config_file import CONFIG_VARIABLE, find_config_file, read_config_file
from tallylight.errors import StartError

PREFIX = "TALLYLIGHT_"

# A name is part of URLs, file names and log lines; 64 bytes is a DNS label with room to spare.
STREAM_NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,63}$"
# A key is the last path segment of an RTMP URL and an HTTP header value: no slash, no blank, no query.
STREAM_KEY_PATTERN = r"^[A-Za-z0-9._~-]{1,128}$"

# One line: it also goes into playlists, logs and headers.
ONE_LINE_PATTERN = r"^[^\x00-\x1f\x7f\u2028\u2029]*$"

# Read by the engine and by the demo, not here.
OTHER_VARIABLES = frozenset({"TALLYLIGHT_LOG", "TALLYLIGHT_DEMO_URL", "TALLYLIGHT_OUTPUT_KEY", CONFIG_VARIABLE})

Port = Annotated[int, Field(ge=1, le=65535)]


class IceServer(BaseModel):
    """A STUN or TURN server that browsers are told about (RTCIceServer)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    urls: Annotated[list[str], Field(min_length=1, max_length=16)]
    username: str | None = None
    credential: Annotated[str | None, Field(repr=False)] = None
    # Shared with the TURN server; browsers get credentials made of it that expire (coturn's `use-auth-secret`).
    secret: Annotated[str | None, Field(repr=False)] = None

    @model_validator(mode="after")
    def _one_kind_of_credential(self) -> Self:
        if self.secret is not None and (self.username is not None or self.credential is not None):
            raise ValueError("an ICE server has either secret, or username and credential")
        return self


class BootstrapStream(BaseModel):
    """A stream that must exist after start; an existing one keeps its key."""

    model_config = ConfigDict(frozen=True)

    name: Annotated[str, Field(pattern=STREAM_NAME_PATTERN)]
    key: Annotated[str, Field(pattern=STREAM_KEY_PATTERN, repr=False)]


class Settings(BaseSettings):
    """Everything that can be set. Names and defaults are a contract; see README.md."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    bind: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.IPv4Address("0.0.0.0")  # noqa: S104 - a media server is for other hosts
    http_port: Port = 8080
    webrtc_port: Port = 8080
    rtmp_port: Port = 1935
    internal_port: Port = 8081
    data_dir: Path = Path("data")
    public_ips: Annotated[tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...], NoDecode] = ()
    # Only these may say on whose behalf a request comes (X-Forwarded-For, X-Forwarded-Proto).
    trusted_proxies: Annotated[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...], NoDecode] = ()
    bootstrap_streams: Annotated[tuple[BootstrapStream, ...], NoDecode] = Field(default=(), repr=False)
    ice_servers: Annotated[tuple[IceServer, ...], Field(max_length=16)] = ()
    # Half an hour covers a streamer's restarted computer; beyond that it is another broadcast.
    reconnect_window_s: Annotated[int, Field(ge=0, le=1800)] = 60
    # Of `admin`, at the first start only; afterwards it is changed like any other.
    admin_password: Annotated[SecretStr | None, Field(min_length=1, max_length=256)] = None
    # None: SQLite in the data directory.
    database_url: Annotated[SecretStr | None, Field(max_length=2000)] = None
    # Networks that webhooks may reach although they are private.
    webhook_allow_private: Annotated[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...], NoDecode] = ()
    engine_binary: Path | None = None
    audit_nonces: bool = False

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """An option wins over the environment, the environment over the file."""
        path = find_config_file()
        values = {} if path is None else read_config_file(path, cls.model_fields)
        return init_settings, env_settings, InitSettingsSource(settings_cls, values)

    @field_validator("engine_binary", "admin_password", "database_url", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("public_ips", "trusted_proxies", "webhook_allow_private", mode="before")
    @classmethod
    def _split_addresses(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("bootstrap_streams", mode="before")
    @classmethod
    def _split_streams(cls, value: object) -> object:
        return (
            [_name_and_key(part.strip()) for part in value.split(",") if part.strip()]
            if isinstance(value, str)
            else value
        )

    @field_validator("data_dir", mode="after")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("this is an address postgresql://USER:PASSWORD@HOST:PORT/NAME")
        return value

    @property
    def first_admin_password(self) -> str | None:
        return None if self.admin_password is None else self.admin_password.get_secret_value()

    @model_validator(mode="after")
    def _tcp_ports_differ(self) -> Self:
        ports = {"HTTP_PORT": self.http_port, "RTMP_PORT": self.rtmp_port, "INTERNAL_PORT": self.internal_port}
        taken: dict[int, str] = {}
        for name, port in ports.items():
            if port in taken:
                raise ValueError(f"{PREFIX}{taken[port]} and {PREFIX}{name} are both {port}; give each its own port")
            taken[port] = name
        return self

    @model_validator(mode="after")
    def _bootstrap_is_unambiguous(self) -> Self:
        if len({stream.name for stream in self.bootstrap_streams}) < len(self.bootstrap_streams):
            raise ValueError(f"{PREFIX}BOOTSTRAP_STREAMS names a stream twice")
        if len({stream.key for stream in self.bootstrap_streams}) < len(self.bootstrap_streams):
            raise ValueError(
                f"{PREFIX}BOOTSTRAP_STREAMS gives two streams the same key, but the key decides the stream"
            )
        return self


def load_settings(data_dir: Path | None = None) -> Settings:
    """Reads the environment and the configuration file.

    Args:
        data_dir: Overrides `TALLYLIGHT_DATA_DIR` (a command line option).

    Raises:
        StartError: `config_invalid`, with every wrong setting by name; values are not repeated, they may be secrets.
            `config_missing`: there is no such configuration file.
    """
    try:
        return Settings() if data_dir is None else Settings(data_dir=data_dir)
    except ValidationError as error:
        problems = "; ".join(sorted(_problem(item["loc"], item["msg"]) for item in error.errors()))
        raise StartError(
            "config_invalid", f"The configuration is not valid: {problems}.", "Correct it and start again."
        ) from error
    except ValueError as error:  # pydantic-settings: a JSON value that is not JSON
        raise StartError(
            "config_invalid", f"The configuration is not valid: {error}.", "Correct it and start again."
        ) from error


@dataclass(frozen=True)
class Effective:
    """One setting as it applies; `value` is None when it is secret and set."""

    name: str
    value: Any
    secret: bool
    # `default`, `option`, the name of an environment variable, or the path of a file.
    origin: str


def effective_settings(settings: Settings, options: Iterable[str] = ()) -> list[Effective]:
    """Every setting with where it came from.

    Args:
        options: Names of the settings given on the command line.
    """
    path = find_config_file()
    in_file = set() if path is None else set(read_config_file(path, Settings.model_fields))
    shown = settings.model_dump(mode="json")
    result = []
    for name, field in Settings.model_fields.items():
        given = getattr(settings, name)
        secret = isinstance(given, SecretStr) or (not field.repr and given != field.default)
        origin = "default"
        if name in options:
            origin = "option"
        elif os.environ.get(PREFIX + name.upper()):
            origin = PREFIX + name.upper()
        elif name in in_file:
            origin = str(path)
        result.append(Effective(name, None if secret else _without_secrets(shown[name]), secret, origin))
    return result


def _without_secrets(value: Any) -> Any:
    """Secrets inside of a setting, such as a TURN server's, are not shown."""
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    if isinstance(value, dict):
        hidden = {"credential", "secret"}
        return {
            key: "(hidden)" if key in hidden else _without_secrets(item)
            for key, item in value.items()
            if item is not None
        }
    return value


def unknown_variables(names: Iterable[str] | None = None) -> dict[str, str | None]:
    """Variables that look like ours but mean nothing, each with the name that was probably meant."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | OTHER_VARIABLES
    candidates = (
        name for name in (os.environ if names is None else names) if name.startswith(PREFIX) and name not in known
    )
    return {name: next(iter(difflib.get_close_matches(name, known, n=1)), None) for name in candidates}


def socket_address(bind: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> str:
    """`address:port`, with the brackets that IPv6 needs."""
    return f"[{bind}]:{port}" if bind.version == 6 else f"{bind}:{port}"


def _name_and_key(text: str) -> dict[str, str]:
    name, colon, key = text.partition(":")
    if not colon:
        raise ValueError("each entry must be name:key")
    return {"name": name, "key": key}


# What a value must be, in words: for the environment and for requests.
FIELD_RULES = {
    "name": "a stream name has 1 to 64 characters of a-z, 0-9, - and _, and starts with a letter or digit",
    "title": "a title is one line of at most 200 characters",
    "key": "a stream key has 1 to 128 characters of A-Z, a-z, 0-9, -, ., _ and ~",
}


def _where_set(name: str) -> str:
    """How a person finds the setting that is wrong: the variable, or the name in the file."""
    variable = f"{PREFIX}{name.upper()}"
    if os.environ.get(variable):
        return variable
    path = find_config_file()
    in_file = path is not None and name in read_config_file(path, Settings.model_fields)
    return f"{name} in {path}" if in_file else variable


def _problem(location: tuple[int | str, ...], message: str) -> str:
    message = re.sub(r"^Value error, ", "", message)
    if not location:
        return message
    variable = _where_set(str(location[0]))
    hint = FIELD_RULES.get(str(location[-1])) if len(location) > 1 else None
    if hint is not None:
        return f"{variable}: {hint}"
    return f"{variable}: {message[:1].lower()}{message[1:]}"
