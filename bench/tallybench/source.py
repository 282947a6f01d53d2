"""The source: 8 s of H.264 and AAC, encoded once, looped over RTMP in real time."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tallybench.machine import pinned_to
from tallybench.server import BenchError

# Four GOPs of 2 s, and a whole number (375) of AAC frames of 1024 samples, so that the loop has no seam.
LOOP_S = 8
FRAME_RATE = 30
GOP_FRAMES = 60
VIDEO_KBIT_S = 2550
AUDIO_KBIT_S = 128

# Noise keeps the encoder at its rate: a bare test card needs a tenth of it.
_PICTURE = f"testsrc2=size=1280x720:rate={FRAME_RATE},noise=alls=14:allf=t,format=yuv420p"
_SOUND = "sine=frequency=440:sample_rate=48000"


def encode(path: Path) -> None:
    """Writes the loop as FLV: 720p30, a keyframe every 2 s, no B-frames (WebRTC cannot show them), 2.7 Mb/s in all."""
    video = ["-c:v", "libx264", "-preset", "veryfast", "-profile:v", "high", "-bf", "0", "-g", str(GOP_FRAMES)]
    video += ["-keyint_min", str(GOP_FRAMES), "-sc_threshold", "0", "-b:v", f"{VIDEO_KBIT_S}k"]
    video += ["-maxrate", f"{VIDEO_KBIT_S}k", "-bufsize", f"{VIDEO_KBIT_S // 2}k"]
    audio = ["-c:a", "aac", "-b:a", f"{AUDIO_KBIT_S}k", "-ac", "2"]
    inputs = ["-f", "lavfi", "-i", _PICTURE, "-f", "lavfi", "-i", _SOUND]
    output = ["-t", str(LOOP_S), "-f", "flv", str(path)]
    command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-y", *inputs, *video, *audio, *output]
    try:
        _ = subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise BenchError(f"ffmpeg with libx264 could not encode the source: {error}") from error


@contextlib.contextmanager
def pushed(path: Path, url: str, core: int) -> Iterator[None]:
    """Pushes the loop to `url` in real time from `core`, without encoding, until the block ends."""
    command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-re", "-stream_loop", "-1", "-i", str(path)]
    with pinned_to(core):
        process = subprocess.Popen([*command, "-c", "copy", "-f", "flv", url], stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()
