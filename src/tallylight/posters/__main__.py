"""The posters' process; the supervisor holds its standard input open and starts it again when it ends."""

import os
import sys
import threading
from typing import NoReturn

# Pictures wait for whatever else the machine has to do. Before the imports: they are the larger part of a start.
NICENESS = 10


def main() -> NoReturn:
    """Runs the process until standard input ends; exit code 1 when it cannot start."""
    os.nice(NICENESS)
    end_with_stdin()
    import structlog  # noqa: PLC0415

    from tallylight import logs  # noqa: PLC0415
    from tallylight.config import load_settings  # noqa: PLC0415
    from tallylight.errors import StartError  # noqa: PLC0415
    from tallylight.paths import DataDirectory  # noqa: PLC0415
    from tallylight.posters import worker  # noqa: PLC0415

    logs.configure("posters")
    log = structlog.get_logger()
    worker.confine()
    try:
        posters = worker.Worker(DataDirectory(load_settings().data_dir))
    except (StartError, OSError) as error:
        log.error("posters_cannot_start", message=str(error))
        sys.exit(1)
    log.info("posters_started", pid=os.getpid())
    posters.run()


def end_with_stdin() -> None:
    """Ends this process, also in the midst of its imports, when the supervisor, which holds the other end, is gone."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        # At once: pictures are written whole or not at all, and nothing else is worth keeping.
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()
