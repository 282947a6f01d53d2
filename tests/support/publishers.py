"""Publishers as processes: our test card, plain ffmpeg with a file, FFmpeg's WHIP muxer."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av

from support.seen import SeenFrame, missing_pictures
from support.server import REPOSITORY
from support.waiting import wait_until
from tallylight.demo import publisher_environment, testcard
from tallylight.demo.encoding import CardPublication, CardSettings

# Small enough that two cores can encode, serve and decode it several times over.
SMALL = CardSettings(width=640, height=360, frame_rate=30, bitrate_bps=800_000)


class Publisher:
    """A publishing process. Leaving the context ends it as Ctrl-C or a crash would."""

    def __init__(self, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        self._command = list(command)
        self._environment = {**os.environ, **(environment or {})}
        self._log = bytearray()

    async def __aenter__(self) -> Publisher:
        self.process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._environment,
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._reader = asyncio.create_task(self._read_log())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.process.wait(), 5)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        await self._reader

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def log(self) -> str:
        return self._log.decode(errors="replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Events the test card's publisher wrote, by name."""
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]

    def frames_dropped(self) -> int:
        """Pictures the test card's publisher left out because the machine was busy, as far as it has said."""
        totals = [event["total"] for event in self.events("demo_frames_dropped")]
        ended = [event["frames_dropped"] for event in self.events("demo_publish_ended")]
        return max(totals + ended, default=0)

    async def assert_sent(self, frames: list[SeenFrame]) -> None:
        """These pictures came in order, and whatever is missing among them was never sent."""
        missing = missing_pictures(frames)
        # It reports once a second.
        await wait_until(
            lambda: self.frames_dropped() >= missing,
            3,
            lambda: f"{missing} missing, {self.frames_dropped()} never sent",
        )

    async def wait_exit(self, timeout_s: float) -> int:
        code = await asyncio.wait_for(self.process.wait(), timeout_s)
        await self._reader
        return code

    async def wait_event(self, name: str, count: int = 1, timeout_s: float = 10) -> None:
        await wait_until(lambda: len(self.events(name)) >= count, timeout_s, f"{name} x{count} in {self.log()}")

    async def _read_log(self) -> None:
        assert self.process.stderr is not None
        while piece := await self.process.stderr.read(4096):
            self._log += piece


def card_publisher(url: str, settings: CardSettings = SMALL, *, once: bool = False) -> Publisher:
    """The demo's publisher: the card live from the clock, by RTMP."""
    options = {
        "--width": settings.width,
        "--height": settings.height,
        "--frame-rate": settings.frame_rate,
        "--bitrate": settings.bitrate_bps,
        "--gop-seconds": settings.gop_s,
        "--b-frames": settings.b_frames,
        "--video-codec": settings.video_codec,
        "--audio-codec": settings.audio_codec,
    }
    command = [sys.executable, "-m", "tallylight.demo.publisher", *(["--once"] if once else [])]
    for option, value in options.items():
        command += [option, str(value)]
    return Publisher(command, publisher_environment(url))


def ffmpeg_publisher(url: str, clip: Path, *, loops: int = 0) -> Publisher:
    """Plain ffmpeg: sends a file in real time, as it is (`loops` = -1: again and again)."""
    command = f"ffmpeg -nostdin -hide_banner -loglevel warning -re -stream_loop {loops} -i".split()
    return Publisher([*command, str(clip), "-c", "copy", "-f", "flv", url])


def whip_muxer_publisher(url: str, key: str) -> Publisher:
    """FFmpeg's `whip` muxer, by PyAV in a process of its own, with the certificate it makes by default."""
    return Publisher(
        [sys.executable, str(Path(__file__).with_name("whip_muxer.py")), url], {"TALLYLIGHT_WHIP_KEY": key}
    )


def write_camera_file(path: Path, frames: int) -> Path:
    """Motion JPEG of the card, frame 0 first, for Chromium's fake camera."""
    with av.open(str(path), "w", format="mjpeg") as container:
        stream = container.add_stream("mjpeg", rate=SMALL.frame_rate)
        stream.width, stream.height, stream.pix_fmt = SMALL.width, SMALL.height, "yuvj420p"
        for number in range(frames):
            picture = testcard.draw(number, SMALL.width, SMALL.height, SMALL.frame_rate)
            # JPEG is full range; without the conversion black would be grey.
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p").reformat(
                format="yuvj420p", src_color_range="MPEG", dst_color_range="JPEG"
            )
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_clip(path: Path, settings: CardSettings, duration_s: int, first_frame: int = 0) -> Path:
    """Writes a file of the card; frame 0 is its first, so the counter tells the position."""
    with CardPublication(str(path), settings, first_frame, path.suffix[1:]) as publication:
        for frame_number in range(first_frame, first_frame + duration_s * settings.frame_rate):
            publication.send(frame_number)
    return path
