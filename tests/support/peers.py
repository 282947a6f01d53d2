"""aiortc as an independent WebRTC peer: a viewer over WHEP and a publisher over WHIP."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import aioice.ice
import av
import httpx
import numpy as np
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcrtpsender import RTCRtpSender
from aiortc.rtp import RtcpSrPacket

from support.seen import SAMPLE_RATE_HZ, SeenFrame, Sound, media_time_s, read_frame
from support.waiting import wait_until
from tallylight.demo import testcard

# All test traffic stays on loopback, on machines without any other address too; aioice leaves loopback out.
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]

VIDEO_CLOCK_HZ = 90_000


@dataclass
class RtpClock:
    """Ties the RTP timestamps of one track to the sender's wall clock, from its sender reports."""

    rate_hz: int
    receiver: RTCRtpReceiver
    report: tuple[float, int] | None = None  # NTP seconds, RTP timestamp

    @classmethod
    def watching(cls, receiver: RTCRtpReceiver, rate_hz: int) -> RtpClock:
        clock = cls(rate_hz, receiver)
        handle = receiver._handle_rtcp_packet

        async def watch(packet: Any) -> None:
            if isinstance(packet, RtcpSrPacket):
                clock.report = (packet.sender_info.ntp_timestamp / 2**32, packet.sender_info.rtp_timestamp)
            await handle(packet)

        setattr(receiver, "_handle_rtcp_packet", watch)  # noqa: B010  (replaces a method on purpose)
        return clock

    def sender_time_s(self, media_s: float) -> float:
        """The sender's wall clock at a media time as aiortc counts it (from the first packet it received)."""
        assert self.report is not None, "no sender report yet"
        ntp_s, rtp_timestamp = self.report
        # aiortc hands out timestamps relative to the first one; the origin is in its mapper only.
        origin: int = getattr(self.receiver, "_RTCRtpReceiver__timestamp_mapper")._origin % 2**32  # noqa: B009
        ticks = (origin + round(media_s * self.rate_hz) - rtp_timestamp + 2**31) % 2**32 - 2**31
        return ntp_s + ticks / self.rate_hz


@dataclass
class WhepViewer:
    """Watches one stream over WHEP and keeps what it saw and heard."""

    http: httpx.AsyncClient
    stream: str
    token: str | None = None
    frames: list[SeenFrame] = field(default_factory=list)
    sound: Sound = field(default_factory=Sound)
    location: str = ""
    answer_sdp: str = ""
    clocks: dict[str, RtpClock] = field(default_factory=dict)

    async def __aenter__(self) -> WhepViewer:
        await self.join()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    async def join(self) -> None:
        """Posts the offer, applies the answer and starts to collect."""
        self.connection = RTCPeerConnection()
        self._tasks: list[asyncio.Task[None]] = []
        self.connection.on("track", self._on_track)
        for kind, rate_hz in (("video", VIDEO_CLOCK_HZ), ("audio", SAMPLE_RATE_HZ)):
            receiver = self.connection.addTransceiver(kind, direction="recvonly").receiver
            self.clocks[kind] = RtpClock.watching(receiver, rate_hz)
        await self.connection.setLocalDescription(await self.connection.createOffer())
        answer = await post_sdp(self.http, f"/whep/{self.stream}", self.connection.localDescription.sdp, self.token)
        if answer.status_code != httpx.codes.CREATED:
            await self.leave()
            raise AssertionError(f"WHEP answered {answer.status_code}: {answer.text}")
        self.location, self.answer_sdp = answer.headers["location"], answer.text
        await self.connection.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))

    async def leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self.location:
            await self.http.delete(self.location)
            self.location = ""
        await self.connection.close()

    def _on_track(self, track: MediaStreamTrack) -> None:
        collect = self._collect_video if track.kind == "video" else self._collect_audio
        self._tasks.append(asyncio.create_task(collect(track)))

    async def wait_frames(self, count: int, timeout_s: float = 15) -> list[SeenFrame]:
        """Waits until this many pictures have been decoded, and returns all so far."""

        def enough() -> bool:
            for task in self._tasks:
                if task.done():
                    task.result()  # raises what ended it, such as a decoder's error
            return len(self.frames) >= count

        await wait_until(
            enough,
            timeout_s,
            lambda: f"{count} pictures; have {len(self.frames)}, connection {self.connection.connectionState}",
        )
        return list(self.frames)

    async def wait_more_frames(self, count: int, timeout_s: float = 15) -> list[SeenFrame]:
        """Waits for this many pictures beyond those there are now, and returns only them."""
        start = len(self.frames)
        return (await self.wait_frames(start + count, timeout_s))[start:]

    def sound_offset_s(self) -> float:
        """What to add to media times of the sound to put them on the picture's clock."""
        picture, sound = self.clocks["video"], self.clocks["audio"]
        return sound.sender_time_s(0) - picture.sender_time_s(0)

    async def _collect_video(self, track: MediaStreamTrack) -> None:
        try:
            while True:
                frame = await track.recv()
                assert isinstance(frame, av.VideoFrame)
                self.frames.append(read_frame(frame, media_time_s(frame), time.time()))
        except MediaStreamError:
            return

    async def _collect_audio(self, track: MediaStreamTrack) -> None:
        resampler = av.AudioResampler("s16", "mono", SAMPLE_RATE_HZ)
        try:
            while True:
                frame = await track.recv()
                assert isinstance(frame, av.AudioFrame)
                media_s = media_time_s(frame)
                for mono in resampler.resample(frame):
                    self.sound.add(media_s, mono.to_ndarray()[0])
        except MediaStreamError:
            return


@dataclass
class WhipPublisher:
    """Publishes the test card over WHIP."""

    http: httpx.AsyncClient
    key: str
    width: int = 640
    height: int = 360
    frame_rate: int = 30
    video_mime_type: str = "video/H264"
    location: str = ""

    async def __aenter__(self) -> WhipPublisher:
        await self.publish()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def publish(self) -> None:
        self.connection = RTCPeerConnection()
        first_frame = int(time.time()) * self.frame_rate
        video = self.connection.addTransceiver(
            _CardVideo(self.width, self.height, self.frame_rate, first_frame), direction="sendonly"
        )
        self.connection.addTransceiver(
            _CardSound(first_frame * SAMPLE_RATE_HZ // self.frame_rate), direction="sendonly"
        )
        capabilities = RTCRtpSender.getCapabilities("video").codecs
        video.setCodecPreferences([codec for codec in capabilities if codec.mimeType == self.video_mime_type])
        await self.connection.setLocalDescription(await self.connection.createOffer())
        answer = await post_sdp(self.http, "/whip", self.connection.localDescription.sdp, self.key)
        if answer.status_code != httpx.codes.CREATED:
            await self.connection.close()
            raise AssertionError(f"WHIP answered {answer.status_code}: {answer.text}")
        self.location = answer.headers["location"]
        await self.connection.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))

    async def stop(self) -> None:
        if self.location:
            await self.http.delete(self.location, headers={"Authorization": f"Bearer {self.key}"})
            self.location = ""
        await self.connection.close()


async def post_sdp(http: httpx.AsyncClient, path: str, sdp: str, bearer: str | None = None) -> httpx.Response:
    """The POST of WHIP and WHEP (RFC 9725 section 4.2); `bearer` is a stream key or a playback token."""
    headers = {"Content-Type": "application/sdp"} | ({"Authorization": f"Bearer {bearer}"} if bearer else {})
    return await http.post(path, content=sdp.encode(), headers=headers)


class _Paced(MediaStreamTrack):
    """A track that hands out frame after frame in real time."""

    def __init__(self) -> None:
        super().__init__()
        self._start_s: float | None = None

    async def wait_for(self, media_s: float) -> None:
        if self.readyState != "live":
            raise MediaStreamError
        now_s = time.monotonic()
        if self._start_s is None:
            self._start_s = now_s
        await asyncio.sleep(max(0.0, self._start_s + media_s - now_s))


class _CardVideo(_Paced):
    kind = "video"

    def __init__(self, width: int, height: int, frame_rate: int, first_frame: int) -> None:
        super().__init__()
        self._size, self._frame_rate = (width, height), frame_rate
        self._first_frame, self._count = first_frame, 0

    async def recv(self) -> av.VideoFrame:
        await self.wait_for(self._count / self._frame_rate)
        picture = testcard.draw(self._first_frame + self._count, *self._size, self._frame_rate)
        frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
        frame.pts, frame.time_base = self._count * VIDEO_CLOCK_HZ // self._frame_rate, Fraction(1, VIDEO_CLOCK_HZ)
        self._count += 1
        return frame


class _CardSound(_Paced):
    kind = "audio"
    _SAMPLES = 960  # 20 ms, what aiortc's Opus encoder takes

    def __init__(self, first_sample: int) -> None:
        super().__init__()
        self._first_sample, self._sent = first_sample, 0

    async def recv(self) -> av.AudioFrame:
        await self.wait_for(self._sent / SAMPLE_RATE_HZ)
        mono = testcard.beep(self._first_sample + self._sent, self._SAMPLES, SAMPLE_RATE_HZ)
        frame = av.AudioFrame.from_ndarray(np.repeat(mono, 2).reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE_HZ, self._sent, Fraction(1, SAMPLE_RATE_HZ)
        self._sent += self._SAMPLES
        return frame
