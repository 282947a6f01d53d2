"""Bodies of requests and answers of the public API."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field

from tallylight.accounts.identity import ANONYMOUS, Identity
from tallylight.config import ONE_LINE_PATTERN, STREAM_NAME_PATTERN
from tallylight.db import Stream
from tallylight.engine.models import Session, StreamStatus, Worker
from tallylight.streams.playback import DEFAULT_TTL_S, MAX_TTL_S, MIN_TTL_S
from tallylight.streams.store import NewKey
from tallylight.telemetry.processes import OurProcess, ProcessState
from tallylight.telemetry.streams_now import StreamNow

StreamName = Annotated[str, Field(pattern=STREAM_NAME_PATTERN)]


Title = Annotated[str, Field(max_length=200, pattern=ONE_LINE_PATTERN, examples=["Evening show"])]
# Text of several lines for people; control characters have no place in it.
Description = Annotated[
    str,
    Field(max_length=2000, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$", examples=["Every Friday at eight."]),
]
Visibility = Literal["public", "unlisted", "private"]


class NewStream(BaseModel):
    """What to create."""

    model_config = ConfigDict(extra="forbid")

    name: StreamName
    title: Title = ""
    description: Description = ""
    visibility: Visibility = "public"


class StreamChange(BaseModel):
    """What to change; what is left out stays.

    `owner` is for administrators; null makes it nobody's. Whoever owned the stream loses its key with it.
    """

    model_config = ConfigDict(extra="forbid")

    title: Title | None = None
    description: Description | None = None
    visibility: Visibility | None = None
    owner: Annotated[str | None, Field(max_length=64, examples=["ada"])] = None


class StreamSettings(BaseModel):
    """What can be changed of a stream. It needs no engine, so a change is answered also while that is away."""

    name: Annotated[str, Field(examples=["stage"])]
    title: str
    description: str
    visibility: Visibility
    owner: str | None
    created_at: datetime

    @classmethod
    def of(cls, stream: Stream, owners: Mapping[int, str]) -> Self:
        return cls(
            name=stream.name,
            title=stream.title,
            description=stream.description,
            visibility=visibility_of(stream),
            owner=None if stream.owner_id is None else owners.get(stream.owner_id),
            created_at=stream.created_at,
        )


class StreamWithKey(BaseModel):
    """A stream and its key, which is never shown again."""

    name: Annotated[str, Field(examples=["stage"])]
    title: str
    description: str
    visibility: Visibility
    created_at: datetime
    key: Annotated[str, Field(examples=["0123456789abcdef0123456789abcdef"])]

    @classmethod
    def of(cls, new: NewKey) -> Self:
        stream = new.stream
        return cls(
            name=stream.name,
            title=stream.title,
            description=stream.description,
            visibility=visibility_of(stream),
            created_at=stream.created_at,
            key=new.key,
        )


class May(BaseModel):
    """What who asks may do with a stream."""

    edit: bool
    watch: bool


class LastPublisher(BaseModel):
    """Why nobody publishes any more, or the last one was refused, in words for the streamer."""

    ended_at: datetime
    code: Annotated[str, Field(examples=["connection_lost"])]
    sentence: Annotated[str, Field(examples=["The connection broke."])]


class RefusalView(BaseModel):
    """Somebody wanted to publish to this stream and was refused."""

    at: datetime
    protocol: Annotated[str, Field(examples=["rtmp"])]
    code: Annotated[str, Field(examples=["key_rotated"])]
    message: str


class StreamDetails(BaseModel):
    """What only those see who manage a stream."""

    owner: Annotated[str | None, Field(examples=["ada"])] = None
    key_created_at: datetime | None = None
    last_publisher: LastPublisher | None = None
    refusals: list[RefusalView] = []


class StreamView(StreamStatus, StreamDetails):
    """A stream: what the engine measures, and what we know about it.

    `owner`, `key_created_at`, `last_publisher` and `refusals` are empty for those who do not manage it.
    """

    title: str
    description: str
    visibility: Visibility
    created_at: datetime
    # The broadcast that has not ended, if there is one.
    broadcast_id: str | None
    # Path of a still picture, which changes with each new one; null when there is none.
    poster: str | None
    may: May

    @classmethod
    def of(
        cls,
        now: StreamNow,
        who: Identity = ANONYMOUS,
        details: StreamDetails | None = None,
    ) -> Self:
        """The view for one asker.

        Args:
            details: Shown only if this asker may see them.
        """
        name, stream, status = now.stream.name, now.stream, now.status
        shown = details if details is not None and who.may_inspect(stream) else StreamDetails()
        return cls(
            **status.model_dump() | shown.model_dump() | {"viewers": {"webrtc": 0, "hls": 0} | status.viewers},
            title=stream.title,
            description=stream.description,
            visibility=visibility_of(stream),
            created_at=stream.created_at,
            broadcast_id=now.broadcast_id,
            poster=None if now.poster_at_s is None else f"/api/streams/{name}/poster?at={int(now.poster_at_s)}",
            may=May(edit=who.may_edit(stream), watch=who.may_watch(stream)),
        )


def visibility_of(stream: Stream) -> Visibility:
    """The stream's visibility as a word that is checked."""
    return next(word for word in get_args(Visibility) if word == stream.visibility)


class PlaybackTokenWanted(BaseModel):
    """How long the token admits viewers. Longer than an hour is for those who may edit the stream."""

    model_config = ConfigDict(extra="forbid")

    ttl_s: Annotated[int, Field(ge=MIN_TTL_S, le=MAX_TTL_S)] = DEFAULT_TTL_S


class PlaybackToken(BaseModel):
    """Lets its holder join a private stream until it expires. The addresses are paths on this server."""

    token: str
    expires_at: datetime
    watch_url: Annotated[str, Field(examples=["/watch/stage?token=…"])]
    hls_url: Annotated[str, Field(examples=["/hls/stage/index.m3u8?token=…"])]
    whep_url: Annotated[str, Field(examples=["/whep/stage?token=…"])]


class SessionView(BaseModel):
    """A peer of a stream. Addresses are for administrators; the id, which gives power over a peer, is cut short."""

    id: str
    kind: Annotated[str, Field(examples=["whep"])]
    state: str
    age_s: float
    bytes: int
    packets: int
    remote: str | None


class SessionList(BaseModel):
    sessions: list[SessionView]


class StreamList(BaseModel):
    streams: list[StreamView]


class Check(BaseModel):
    """One part of the server."""

    status: Literal["pass", "warn", "fail"]
    output: str | None = None


class Health(BaseModel):
    """Health of the whole server (draft-inadarei-api-health-check-06)."""

    status: Literal["pass", "warn", "fail"]
    version: str
    checks: dict[str, list[Check]]


class RtmpAddress(BaseModel):
    port: int
    app: str = "live"


class IceServerAddresses(BaseModel):
    """A STUN or TURN server."""

    urls: list[str]


class PageConfig(BaseModel):
    """What pages need to know about this server."""

    version: str
    # Addresses only: credentials are in the `Link` headers of WHIP and WHEP, new ones for each browser.
    ice_servers: list[IceServerAddresses]
    rtmp: RtmpAddress


class Producer(BaseModel):
    """One track that a publisher sends."""

    stream: str
    kind: str
    codec: str
    bitrate_bps: float | None
    last_packet_age_ms: float | None

    @classmethod
    def all_of(cls, status: StreamStatus) -> list[Self]:
        """The tracks of a stream; none when no publisher is connected."""
        if status.session is None:
            return []
        return [
            cls(
                stream=status.name,
                kind=track.kind,
                codec=track.codec,
                bitrate_bps=track.bitrate_bps,
                last_packet_age_ms=track.age_ms,
            )
            for track in status.tracks
        ]


class Consumer(BaseModel):
    """One viewer by WebRTC, without what would tell who it is or give power over it."""

    stream: str | None
    kind: str
    state: str
    age_s: float
    packets: int
    bytes: int

    @classmethod
    def of(cls, session: Session) -> Self:
        return cls(**session.model_dump(exclude={"id", "remote"}))


class MediaStatus(BaseModel):
    """What moves media now."""

    workers: list[Worker]
    producers: list[Producer]
    consumers: list[Consumer]


class Process(BaseModel):
    """One process of this server. Unknown is null."""

    name: str
    pid: int | None
    state: ProcessState
    uptime_s: float | None

    @classmethod
    def of(cls, process: OurProcess) -> Self:
        return cls(name=process.name, pid=process.pid, state=process.state, uptime_s=process.uptime_s())


class InternalHealth(Health):
    """Health of the whole server, and its processes."""

    processes: list[Process]


class VideoExposeStatus(BaseModel):
    """What `videoExpose` would send now; `reason` says why it is nothing."""

    stream: str | None
    status: Literal["ON_AIR", "OFF_AIR"]
    producers: list[Producer]
    reason: str | None
