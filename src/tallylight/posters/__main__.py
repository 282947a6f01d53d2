"""The posters' process; the supervisor holds its standard input open and starts it again when it ends."""

import os
import sys
from typing import NoReturn

# Pictures wait for whatever else the machine has to do. Before the imports: they are the larger part of a start.
NICENESS = 10


def main() -> NoReturn:
    """Runs the process until standard input ends; exit code 1 when it cannot start."""
    os.nice(NICENESS)
    import structlog  # noqa: PLC0415

    from tallylight import logs  # noqa: PLC0415
    from tallylight.config import load_settings  # noqa: PLC0415
    from tallylight.errors import StartError  # noqa: PLC0415
    from tallylight.paths import DataDirectory  # noqa: PLC0415
    from tallylight.posters import worker  # noqa: PLC0415

    logs.configure("posters")
    log = structlog.get_logger()
    worker.end_with_stdin()
    worker.confine()
    try:
        posters = worker.Worker(DataDirectory(load_settings().data_dir))
    except (StartError, OSError) as error:
        log.error("posters_cannot_start", message=str(error))
        sys.exit(1)
    log.info("posters_started", pid=os.getpid())
    posters.run()


if __name__ == "__main__":
    main()
