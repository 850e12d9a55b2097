"""Freed memory stays with the process where malloc is glibc's."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import numpy as np
from skillrl.parallel.host_memory import keep_freed

if sys.argv[1] == "keep":
    assert keep_freed()
np.ones(2**24)  # 128 MiB, freed at once
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    np.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc alone")
def test_memory_that_was_freed_is_not_mapped_again():
    def faults(how):
        command = [sys.executable, "-c", SCRIPT, how]
        return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    assert faults("keep") < faults("as it is") / 10


RELEASE = """
from pathlib import Path
from skillrl.parallel.host_memory import keep_freed, release

def resident():  # MiB
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) // 1024

assert keep_freed()
import numpy as np
np.ones(2**24)  # 128 MiB, freed at once
kept = resident()
assert release()
print(kept - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc alone")
def test_what_was_kept_goes_back_when_it_is_released():
    command = [sys.executable, "-c", RELEASE]
    given = int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    assert given >= 120
