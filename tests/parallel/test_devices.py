"""The memory of devices, and a platform that is not here."""

import os
import subprocess
import sys

import jax

from skillrl.parallel.devices import device_memory
from skillrl.parallel.mesh import make_mesh


def test_memory_is_that_of_the_machine_on_cpus():
    mesh = make_mesh(devices=jax.devices()[:1])
    assert device_memory(mesh) == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_a_platform_that_is_not_here_is_one_sentence():
    code = "from skillrl.parallel.devices import find_devices; find_devices()"
    for asked in ("cuda", "nonsense"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "JAX_PLATFORMS": asked},
            capture_output=True,
            text=True,
            check=False,
        )
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith(f"skillrl.errors.SkillRLError: JAX_PLATFORMS={asked}: "), last
