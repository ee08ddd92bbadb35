"""The systemd unit that operators copy: systemd understands it, and a stop has the time it needs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clm.settings import Settings

UNIT = Path(__file__).parents[2] / "docs" / "clm.service"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    # The command has to exist where it is checked.
    unit = tmp_path / "clm.service"
    unit.write_text(UNIT.read_text().replace("/opt/clm/bin/clm", sys.executable))

    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")


def test_a_stop_has_time_for_the_grace_the_watch_and_a_worker() -> None:
    found = re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)

    assert found is not None
    assert int(found[1]) > Settings.model_fields["shutdown_grace_seconds"].default + 10 + 5
