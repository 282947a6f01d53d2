"""What crosses the border to the engine, as in docs/engine-api.md.

Unknown fields are kept out of the way, not refused.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, RootModel


class _Border(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Track(_Border):
    """One audio or video sequence of a stream."""

    id: int
    kind: Literal["video", "audio"]
    codec: str
    codec_string: str | None = None
    width: int | None = None
    height: int | None = None
    has_b_frames: bool | None = None
    bitrate_bps: float | None = None
    # Since its newest access unit; None before the first.
    age_ms: float | None = None
    frame_rate: float | None = None
    keyframe_interval_s: float | None = None
    sample_rate_hz: int | None = None
    channels: int | None = None


class Playability(_Border):
    """Whether a stream can be watched one way; if not, why, and what the streamer can change."""

    playable: bool
    code: str | None = None
    reason: str | None = None
    fix: str | None = None


class Playback(_Border):
    webrtc: Playability
    hls: Playability


class StreamStatus(_Border):
    """What the engine knows about one stream."""

    name: str
    status: Literal["ON_AIR", "OFF_AIR"]
    stream_type: str | None = None
    protocol: str | None = None
    epoch: int | None = None
    session: str | None = None
    started_at: str | None = None
    uptime_s: float | None = None
    media_age_ms: float | None = None
    last_end: str | None = None
    tracks: tuple[Track, ...] = ()
    viewers: dict[str, int] = Field(default_factory=lambda: {"webrtc": 0, "hls": 0})
    playback: Playback
    ledger: dict[str, dict[str, dict[str, Any]]] = Field(default_factory=dict)


OFF_AIR = Playability(
    playable=False,
    code="starting",
    reason="Nothing is on air.",
)


def off_air(name: str) -> StreamStatus:
    """The status of a stream that the engine has not seen since its start."""
    return StreamStatus(name=name, status="OFF_AIR", epoch=0, playback=Playback(webrtc=OFF_AIR, hls=OFF_AIR))


class Streams(_Border):
    streams: tuple[StreamStatus, ...]


class Worker(_Border):
    """What moves WebRTC's packets."""

    pid: int
    alive: bool
    kind: str
    load: float | None = None


class EngineHealth(_Border):
    status: Literal["pass", "warn", "fail"]
    version: str
    boot_id: str
    pid: int
    uptime_s: float
    workers: tuple[Worker, ...] = ()


class Session(_Border):
    """One peer of the engine. Whoever knows the id of a WebRTC session can end it."""

    id: str
    kind: str
    stream: str | None = None
    state: str
    age_s: float
    remote: str | None = None
    packets: int
    bytes: int


class Sessions(_Border):
    sessions: tuple[Session, ...]


class Statistics(RootModel[dict[str, JsonValue]]):
    """Counters and gauges by dotted name."""

    def numbers(self) -> dict[str, float]:
        return {name: value for name, value in self.root.items() if isinstance(value, (int, float))}


class StreamPolicy(_Border):
    """Who may play one stream. `playback_key` signs its playback tokens: 32 random bytes, base64url without padding."""

    visibility: Literal["public", "unlisted", "private"]
    playback_key: Annotated[str | None, Field(repr=False)] = None


class PlaybackPolicy(_Border):
    """What the engine enforces on viewers. A private stream needs its key; a stream not named here is public."""

    streams: dict[str, StreamPolicy]


class EngineProblem(_Border):
    """Why the engine refuses (RFC 9457)."""

    code: str
    detail: str


class EngineEvent(BaseModel):
    """One event; fields beyond these depend on its name."""

    model_config = ConfigDict(extra="allow", frozen=True)

    seq: int
    at: str
    event: str
    stream: str | None = None
    session: str | None = None

    def fields(self) -> dict[str, Any]:
        """The fields that belong to this event's name."""
        return dict(self.model_extra or {})


class AdmissionQuestion(_Border):
    """May this publisher go on air?"""

    action: Literal["publish"]
    protocol: Literal["rtmp", "whip"]
    stream: Annotated[str | None, Field(max_length=256)] = None
    key: Annotated[str, Field(max_length=512, repr=False)] = ""
    session: Annotated[str, Field(max_length=256)] = ""
    remote_ip: Annotated[str, Field(max_length=64)]


class Allowed(_Border):
    allow: Literal[True] = True
    stream: str


class Refused(_Border):
    allow: Literal[False] = False
    code: Literal[
        "key_wrong",
        "key_missing",
        "key_rotated",
        "owner_may_not_publish",
        "rate_limited",
        "stream_deleted",
        "stream_unknown",
    ]
    message: str


AdmissionAnswer = Annotated[Allowed | Refused, Field(discriminator="allow")]
