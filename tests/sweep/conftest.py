"""A Slurm that lives for a test."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("slurm.sh")


@pytest.fixture
def slurm(request):
    """Variables of a Slurm with two pretend cards on each node: one, or as many as a test's parameter says."""
    missing = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: apt-get install slurm-wlm munge")
    if os.getuid() != 0:
        pytest.skip("only root can start Slurm's daemons")
    # Two workers may each have one.
    port = 16817 + 10 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    # A socket's path holds 108 characters, fewer than a folder of pytest's under xdist may need.
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as folder:
        environment = os.environ | {
            "FISTULA_SLURM_DIR": folder,
            "FISTULA_SLURM_NODES": str(getattr(request, "param", 1)),
            "FISTULA_SLURM_PORT": str(port),
        }
        try:
            subprocess.run([SCRIPT, "up"], env=environment, check=True, timeout=120)
            environment |= {"SLURM_CONF": f"{folder}/etc/slurm.conf", "PATH": f"{folder}/bin:{os.environ['PATH']}"}
            yield environment
            subprocess.run(["scancel", "--me", "--quiet"], env=environment, check=False)
        finally:
            subprocess.run([SCRIPT, "down"], env=environment, check=True, timeout=60)
