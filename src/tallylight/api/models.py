"""Bodies of requests and answers of the public API."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from tallylight.config import ONE_LINE_PATTERN, STREAM_NAME_PATTERN
from tallylight.engine.models import Session, StreamStatus, Worker
from tallylight.streams.store import NewKey
from tallylight.telemetry.processes import OurProcess, ProcessState
from tallylight.telemetry.streams_now import StreamNow

StreamName = Annotated[str, Field(pattern=STREAM_NAME_PATTERN)]


class NewStream(BaseModel):
    """What to create."""

    model_config = ConfigDict(extra="forbid")

    name: StreamName
    # One line: titles also go into playlists, logs and headers.
    title: Annotated[str, Field(max_length=200, pattern=ONE_LINE_PATTERN)] = ""


class StreamWithKey(BaseModel):
    """A stream and its key, which is never shown again."""

    name: str
    title: str
    created_at: datetime
    key: str

    @classmethod
    def of(cls, new: NewKey) -> Self:
        stream = new.stream
        return cls(name=stream.name, title=stream.title, created_at=stream.created_at, key=new.key)


class StreamView(StreamStatus):
    """A stream as everybody may see it: what the engine measures, and what we know about it."""

    title: str
    created_at: datetime
    # The broadcast that has not ended, if there is one.
    broadcast_id: str | None
    # Path of a still picture, which changes with each new one; null when there is none.
    poster: str | None

    @classmethod
    def of(cls, now: StreamNow) -> Self:
        name, stream = now.stream.name, now.stream
        return cls(
            **now.status.model_dump(),
            title=stream.title,
            created_at=stream.created_at,
            broadcast_id=now.broadcast_id,
            poster=None if now.poster_at_s is None else f"/api/streams/{name}/poster?at={int(now.poster_at_s)}",
        )


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
    # Of the stream, not of the track alone.
    last_packet_age_ms: float | None

    @classmethod
    def all_of(cls, status: StreamStatus) -> list[Self]:
        """The tracks of a stream; none when no publisher is connected."""
        if status.session is None:
            return []
        age_ms = status.media_age_ms
        return [
            cls(
                stream=status.name,
                kind=track.kind,
                codec=track.codec,
                bitrate_bps=track.bitrate_bps,
                last_packet_age_ms=age_ms,
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
