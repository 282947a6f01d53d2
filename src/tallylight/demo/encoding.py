"""From numbered frames to an RTMP publication: draws, encodes and sends, all on the caller's thread."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream

from tallylight.demo import testcard

# What `CardSettings.video_codec` may be; the last three go over E-RTMP.
VIDEO_CODECS = ("libx264", "libx265", "libvpx-vp9", "libsvtav1")
SAMPLE_RATE_HZ = 48_000
_AUDIO_BITRATE_BPS = 128_000
_AUDIO_FRAME_SAMPLES = 1024  # of AAC; Opus takes 960, and the encoder says which
# A gap in the sound shorter than this is filled, a longer one left out: after a freeze nobody wants the old beeps.
_AUDIO_CATCH_UP_S = 1.0
# A peer that takes nothing for this long is gone; TCP alone would keep us waiting for a quarter of an hour.
_WRITE_TIMEOUT_S = 2


@dataclass(frozen=True)
class CardSettings:
    """What the card looks like on the wire."""

    width: int = 1280
    height: int = 720
    frame_rate: int = 30
    bitrate_bps: int = 2_500_000
    gop_s: float = 2.0
    b_frames: int = 0
    video_codec: str = "libx264"
    audio_codec: str = "aac"


class CardPublication:
    """One publication of the test card, from connect to goodbye. A context manager; leaving it closes the connection.

    Raises:
        av.FFmpegError, OSError: From every method when the server refuses, goes away or stops reading.
    """

    def __init__(
        self,
        url: str,
        settings: CardSettings,
        first_frame: int,
        container_format: str = "flv",
        container_options: dict[str, str] | None = None,
    ) -> None:
        """Connects; returns once the server has accepted.

        Args:
            first_frame: The frame at media time zero.
            container_format: Any of the muxing library's, such as "flv" for RTMP or "whip".
            container_options: Further options of that muxer.
        """
        self._settings = settings
        self._first_frame = first_frame
        self._first_sample = first_frame * SAMPLE_RATE_HZ // settings.frame_rate
        self._next_sample = self._first_sample
        options = dict(container_options or {})
        if container_format == "flv":
            options |= {"flvflags": "no_duration_filesize", "flush_packets": "1"}
        if url.startswith("rtmp"):
            # fourCcList of E-RTMP: FFmpeg announces it only when told to.
            options |= {"rw_timeout": str(_WRITE_TIMEOUT_S * 1_000_000), "rtmp_enhanced_codecs": "hvc1,av01,vp09"}
        self._container: OutputContainer = av.open(
            url, "w", format=container_format, container_options=options, timeout=(_WRITE_TIMEOUT_S, _WRITE_TIMEOUT_S)
        )
        try:
            self._video = _add_video(self._container, settings)
            self._audio = _add_audio(self._container, settings)
            self._audio_frame_samples = 0
            self._container.start_encoding()
            self._audio_frame_samples = self._audio.codec_context.frame_size or _AUDIO_FRAME_SAMPLES
        except BaseException:
            self._abandon()
            raise

    def __enter__(self) -> CardPublication:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self._abandon()

    def send(self, frame_number: int) -> None:
        """Draws and sends one frame, and the sound up to its end."""
        settings = self._settings
        picture = testcard.draw(frame_number, settings.width, settings.height, settings.frame_rate)
        frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
        frame.pts = frame_number - self._first_frame
        frame.time_base = Fraction(1, settings.frame_rate)
        self._send_audio_until((frame_number + 1) * SAMPLE_RATE_HZ // settings.frame_rate)
        self._container.mux(self._video.encode(frame))

    def finish(self) -> None:
        """Sends what the encoders still hold and says goodbye."""
        self._container.mux(self._video.encode(None))
        self._container.mux(self._audio.encode(None))
        self._container.close()

    def _send_audio_until(self, end_sample: int) -> None:
        if end_sample - self._next_sample > _AUDIO_CATCH_UP_S * SAMPLE_RATE_HZ:
            self._next_sample = end_sample - self._audio_frame_samples
        # One frame ahead of the picture: the muxer holds a picture back until the sound has caught up with it.
        while self._next_sample < end_sample + self._audio_frame_samples:
            mono = testcard.beep(self._next_sample, self._audio_frame_samples, SAMPLE_RATE_HZ)
            frame = av.AudioFrame.from_ndarray(np.repeat(mono, 2).reshape(1, -1), format="s16", layout="stereo")
            frame.sample_rate = SAMPLE_RATE_HZ
            frame.pts = self._next_sample - self._first_sample
            frame.time_base = Fraction(1, SAMPLE_RATE_HZ)
            self._container.mux(self._audio.encode(frame))
            self._next_sample += self._audio_frame_samples

    def _abandon(self) -> None:
        """Closes a connection that may be broken already; the error that brought us here is the one to report."""
        try:
            self._container.close()
        except (av.FFmpegError, OSError):
            return


def _add_video(container: OutputContainer, settings: CardSettings) -> VideoStream:
    options = _codec_options(settings)
    stream = cast("VideoStream", container.add_stream(settings.video_codec, rate=settings.frame_rate, options=options))
    stream.width, stream.height, stream.pix_fmt = settings.width, settings.height, "yuv420p"
    stream.bit_rate = settings.bitrate_bps
    context = stream.codec_context
    context.time_base = Fraction(1, settings.frame_rate)
    context.gop_size = max(1, round(settings.gop_s * settings.frame_rate))
    context.max_b_frames = settings.b_frames
    # One slice a picture, and no frames held back by frame threads.
    context.thread_count = 1
    return stream


def _codec_options(settings: CardSettings) -> dict[str, str]:
    rate = {"maxrate": str(settings.bitrate_bps), "bufsize": str(settings.bitrate_bps // 2)}
    # Zero latency forbids B-frames; asked for those, the encoder may hold back what they need.
    tune = {} if settings.b_frames else {"tune": "zerolatency"}
    if settings.video_codec == "libx265":
        keyframes = max(1, round(settings.gop_s * settings.frame_rate))
        parameters = f"keyint={keyframes}:min-keyint={keyframes}:scenecut=0:pools=1:frame-threads=1:log-level=error"
        return {"preset": "ultrafast", "x265-params": parameters, **tune}
    if settings.video_codec == "libvpx-vp9":
        return {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "auto-alt-ref": "0"}
    if settings.video_codec == "libsvtav1":
        # Without the low-delay structure (pred-struct) it reorders and holds back half a second.
        return {"preset": "11", "svtav1-params": "pred-struct=1:lp=1:scd=0", "maxrate": str(settings.bitrate_bps)}
    return {"preset": "ultrafast", "sc_threshold": "0", "forced-idr": "1", **rate, **tune}


def _add_audio(container: OutputContainer, settings: CardSettings) -> AudioStream:
    stream = cast("AudioStream", container.add_stream(settings.audio_codec, rate=SAMPLE_RATE_HZ))
    stream.bit_rate = _AUDIO_BITRATE_BPS
    stream.codec_context.layout = "stereo"
    return stream
