"""From pictures and sound to one RTMP publication."""

from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Self

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream

from tallylight.errors import TallylightError
from tallylight.processing.frame import Frame
from tallylight.processing.queue import Sound

# FLV counts in milliseconds.
TIME_BASE = Fraction(1, 1000)
# A peer that takes nothing for this long is gone; TCP alone would keep us waiting for a quarter of an hour.
WRITE_TIMEOUT_S = 2
# What FLV carries without being encoded again.
SOUND_CODECS = ("aac", "opus")
# FFmpeg's RTMP client puts this before the description of a refusal.
SERVER_SAYS = "Server error: "
# Sound does not wait longer for a picture that does not come.
MAX_INTERLEAVE_S = 0.5


@dataclass(frozen=True)
class Encoding:
    """How the result is encoded: H.264 without B-frames, so that WebRTC and HLS both play it.

    Attributes:
        bitrate_bps: Of the video; None: by picture size and frame rate, 2.5 Mb/s for 720p at 30.
        keyframe_interval_s: Viewers join, and HLS cuts its segments, at keyframes.
        preset: Of x264; slower ones give better pictures for more CPU.
    """

    bitrate_bps: int | None = None
    keyframe_interval_s: float = 2.0
    preset: str = "ultrafast"

    def bitrate_for(self, width: int, height: int, frame_rate: Fraction) -> int:
        if self.bitrate_bps is not None:
            return self.bitrate_bps
        # A tenth of a bit for a pixel is 2.8 Mb/s for 720p at 30.
        return round(min(8_000_000, max(400_000, 0.09 * width * height * float(frame_rate))))


class PublishError(TallylightError):
    """`output_refused`, in the server's words, or `output_lost`: it went away, or stopped reading."""


class Publication:
    """One publication, from connect to goodbye. Media time zero is that of its first picture.

    Raises:
        PublishError: From every method.
    """

    def __init__(
        self, url: str, first: Frame, frame_rate: Fraction, sound: AudioStream | None, encoding: Encoding
    ) -> None:
        self._url = url
        self._origin_s = first.time_s
        self._interval_ms = round(encoding.keyframe_interval_s * 1000)
        self._last_ms = -1
        self._next_keyframe_ms = 0
        self.size = (first.width, first.height)
        try:
            # fourCcList of E-RTMP: FFmpeg announces it only when told to.
            options = {"rw_timeout": str(WRITE_TIMEOUT_S * 1_000_000), "flvflags": "no_duration_filesize"}
            options |= {"flush_packets": "1", "max_interleave_delta": str(round(MAX_INTERLEAVE_S * 1_000_000))}
            self._container: OutputContainer = av.open(
                url, "w", format="flv", container_options=options, timeout=(WRITE_TIMEOUT_S, WRITE_TIMEOUT_S)
            )
        except (av.FFmpegError, OSError) as error:
            raise self._lost(error) from error
        try:
            self._video = _add_video(self._container, first, frame_rate, encoding)
            copied = sound is not None and sound.codec_context.name in SOUND_CODECS
            self._sound = self._container.add_stream_from_template(sound) if sound is not None and copied else None
            self._container.start_encoding()
        except (av.FFmpegError, OSError) as error:
            self._abandon()
            raise self._lost(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._abandon()
            return
        try:
            self._container.mux(self._video.encode(None))
            self._container.close()
        except (av.FFmpegError, OSError):
            # It is over either way.
            self._abandon()

    def send(self, frame: Frame) -> int:
        """Encodes and sends one picture of the first one's size; returns the encoded bytes."""
        time_ms = max(round((frame.time_s - self._origin_s) * 1000), self._last_ms + 1)
        self._last_ms = time_ms
        picture = av.VideoFrame.from_ndarray(frame.picture, format="yuv420p")
        picture.pts, picture.time_base = time_ms, TIME_BASE
        if time_ms >= self._next_keyframe_ms:
            picture.pict_type = av.video.frame.PictureType.I
            self._next_keyframe_ms = time_ms + self._interval_ms
        try:
            packets = self._video.encode(picture)
            self._container.mux(packets)
        except (av.FFmpegError, OSError) as error:
            raise self._lost(error) from error
        return sum(packet.size for packet in packets)

    def send_sound(self, sound: Sound) -> int:
        """Passes sound on as it came; returns its bytes. What is older than the first picture is left out."""
        time_s = sound.time_s - self._origin_s
        if self._sound is None or time_s < 0:
            return 0
        packet = sound.packet
        packet.stream = self._sound
        base = packet.time_base
        packet.pts = packet.dts = round(time_s / base)
        size = packet.size
        try:
            self._container.mux(packet)
        except (av.FFmpegError, OSError) as error:
            raise self._lost(error) from error
        return size

    def _lost(self, error: Exception) -> PublishError:
        """The error in words, without the stream key: the server's own when it refused."""
        log = getattr(error, "log", None)
        said = str(log[2]).strip() if isinstance(log, tuple) and len(log) == 3 else ""
        if isinstance(error, PermissionError) and said.startswith(SERVER_SAYS):
            return PublishError("output_refused", f"The server refused the result: {said.removeprefix(SERVER_SAYS)}")
        words = str(getattr(error, "strerror", None) or type(error).__name__).replace(self._url, "rtmp://…")
        return PublishError("output_lost", f"The server did not take the result ({words}).")

    def _abandon(self) -> None:
        try:
            self._container.close()
        except (av.FFmpegError, OSError):
            return


def _add_video(container: OutputContainer, first: Frame, frame_rate: Fraction, encoding: Encoding) -> VideoStream:
    bitrate_bps = encoding.bitrate_for(first.width, first.height, frame_rate)
    options = {
        "preset": encoding.preset,
        "tune": "zerolatency",
        "forced-idr": "1",
        "sc_threshold": "0",
        "maxrate": str(bitrate_bps),
        "bufsize": str(bitrate_bps // 2),
    }
    stream = container.add_stream("libx264", rate=frame_rate, options=options)
    stream.width, stream.height, stream.pix_fmt = first.width, first.height, "yuv420p"
    stream.bit_rate = bitrate_bps
    context = stream.codec_context
    context.time_base = TIME_BASE
    context.framerate = frame_rate
    # Keyframes come by time, which knows of pictures that were left out; this is only the fallback.
    context.gop_size = max(1, round(2 * encoding.keyframe_interval_s * frame_rate))
    context.max_b_frames = 0
    # One slice a picture, and no pictures held back by frame threads.
    context.thread_count = 1
    return stream
