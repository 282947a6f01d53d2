"""What the short-lived and the small processes do without."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["tallylight.cli.serve", "tallylight.cli.config", "tallylight.posters.worker"])
def test_the_database_stays_with_the_control_plane(module: str) -> None:
    """Its library takes a second to import and tens of megabytes to keep; commands and the supervisor need neither."""
    program = f"import sys, {module}; print('sqlalchemy' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"
    )
