"""Publishes the test card with FFmpeg's `whip` muxer until SIGTERM.

Run as `python whip_muxer.py URL` with the stream key in TALLYLIGHT_WHIP_KEY.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from tallylight.demo.encoding import CardPublication, CardSettings
from tallylight.demo.pace import FramePace
from tallylight.demo.publisher import SteadyClock, log


def main() -> int:
    settings = CardSettings(width=640, height=360, bitrate_bps=800_000, audio_codec="libopus")
    clock = SteadyClock()
    first_frame = int(clock.unix_s() * settings.frame_rate)
    options = {"authorization": os.environ["TALLYLIGHT_WHIP_KEY"]}
    publication = CardPublication(sys.argv[1], settings, first_frame, "whip", options)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    pace = FramePace(settings.frame_rate, last_frame=first_frame - 1)
    with publication:
        # The same lines as the RTMP publisher's, for the same reader.
        log("demo_publish_started", first_frame=first_frame, frame_rate=settings.frame_rate)
        while not stop.is_set():
            frame = pace.take(clock.unix_s())
            if frame is None:
                stop.wait(pace.wait_s(clock.unix_s()))
            else:
                publication.send(frame)
    log("demo_publish_ended", frames_dropped=pace.dropped)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
