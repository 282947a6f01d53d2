"""The command line around one frame function: what a program needs to be a processor on this host."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tallylight import logs
from tallylight.config import Settings, load_settings
from tallylight.errors import TallylightError
from tallylight.processing.processor import FrameFunction, Processor
from tallylight.processing.publication import Encoding
from tallylight.processing.server import Server, Target, read_key, target_of_this_host

KEY_VARIABLE = "TALLYLIGHT_OUTPUT_KEY"


def main(on_frame: FrameFunction, description: str, arguments: Sequence[str] | None = None) -> int:
    """Runs a processor until SIGTERM or Ctrl-C; returns the exit code.

    Args:
        on_frame: Called with every picture.
        description: The first line of `--help`.
        arguments: Instead of the process's own.
    """
    options = _parser(description).parse_args(arguments)
    logs.configure("processor")
    try:
        settings = load_settings(options.data_dir)
        processor = Processor(
            options.source,
            on_frame,
            Server.of(settings, options.token_file),
            publish_to=None if options.no_output else _target(options, settings),
            name=options.name,
            encoding=Encoding(bitrate_bps=options.bitrate),
        )
    except TallylightError as error:
        sys.stderr.write(f"error ({error.code}): {error.sentence()}\n")
        return 1
    processor.run()
    return 0


def _target(options: argparse.Namespace, settings: Settings) -> Target:
    stream = options.output or f"{options.source}-processed"
    if key := os.environ.get(KEY_VARIABLE):
        return Target(stream, key)
    if options.key_file is not None:
        return Target(stream, read_key(options.key_file))
    return target_of_this_host(stream, options.source, settings)


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("source", nargs="?", default="main", help="stream to read (default: main)")
    parser.add_argument("--output", help="stream to publish (default: SOURCE-processed)")
    parser.add_argument("--no-output", action="store_true", help="only look at the pictures")
    parser.add_argument(
        "--key-file",
        type=Path,
        help=f"file with the output's stream key (also {KEY_VARIABLE}); without, the stream is made here",
    )
    parser.add_argument("--token-file", type=Path, help="file with the internal token (default: in the data directory)")
    parser.add_argument("--data-dir", type=Path, help="the server's data directory (also TALLYLIGHT_DATA_DIR)")
    parser.add_argument("--name", default=Path(sys.argv[0]).stem[:64], help="what lamps and logs call this processor")
    parser.add_argument("--bitrate", type=int, help="of the video, in bit/s (default: by size and frame rate)")
    return parser
