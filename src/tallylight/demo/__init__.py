"""The built-in publisher: a moving test card with sound, sent by RTMP, in a process of its own.

`testcard` draws and reads the picture and the beep, `encoding` turns both into an RTMP publication, `pace` decides
which frame is due, and `publisher` is the process: `python -m tallylight.demo.publisher`. The command line starts it
with `publisher_command()` and `publisher_environment()`, ends it with SIGTERM or by closing its standard input.
"""

from __future__ import annotations

import sys

URL_VARIABLE = "TALLYLIGHT_DEMO_URL"


def publisher_command() -> list[str]:
    """Argument list of the demo's publisher; it ends when its standard input closes."""
    return [sys.executable, "-m", "tallylight.demo.publisher", "--exit-when-stdin-closes"]


def publisher_environment(url: str) -> dict[str, str]:
    """What to add to the environment: the URL holds the stream key, which must not stand in the argument list."""
    return {URL_VARIABLE: url}
