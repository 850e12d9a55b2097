"""Lists accelerators that a run can be planned for: memory, peaks and links, from data sheets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from skillrl.errors import SkillRLError
from skillrl.parallel.speed import PEAKS, Peak

_GIGA, _TERA = 1e9, 1e12
_GIB = 2**30


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeviceKind:
    """Describes one kind of accelerator.

    Attributes:
      name: as ``--device_kind`` names it.
      title: as its maker does.
      platform: JAX's name of the platform, ``gpu`` or ``tpu``.
      memory: bytes that a program can ask for, of one device.
      peak: bytes and dense bfloat16 operations per second.
      link: bytes per second that one device sends to its neighbours.
      together: devices that `link` joins; beyond them the network does.
      network: bytes per second that one device sends beyond these.
    """

    name: str
    title: str
    platform: str
    memory: float
    peak: Peak
    link: float
    together: int
    network: float

    def bandwidth(self, devices: int) -> float:
        """Gives the bytes per second that a device sends to `devices` of its kind, at worst."""
        return self.link if devices <= self.together else self.network


def _gpu(name: str, title: str, *, gib: float, peak: Peak, link: float, network: float):
    return DeviceKind(
        name=name,
        title=title,
        platform="gpu",
        memory=gib * _GIB,
        peak=peak,
        link=link * _GIGA,
        together=8,
        network=network * _GIGA,
    )


def _tpu(name: str, title: str, *, gb: float, peak: Peak, link: float, together: int):
    return DeviceKind(
        name=name,
        title=title,
        platform="tpu",
        memory=gb * _GIGA,
        peak=peak,
        link=link * _GIGA,
        together=together,
        network=6.25 * _GIGA,  # 200 Gbit/s of a host, shared by its four chips
    )


KINDS: Mapping[str, DeviceKind] = {
    kind.name: kind
    for kind in (
        # NVLink in a host of eight, half of the two-way figure; InfiniBand of 400 or 200 Gbit/s
        # for each card between hosts.
        _gpu(
            "h100",
            "NVIDIA H100 80GB HBM3",
            gib=79.1,
            peak=PEAKS["NVIDIA H100 80GB HBM3"],
            link=450,
            network=50,
        ),
        _gpu("h200", "NVIDIA H200", gib=139.8, peak=PEAKS["NVIDIA H200"], link=450, network=50),
        _gpu(
            "a100",
            "NVIDIA A100-SXM4-80GB",
            gib=79.1,
            peak=PEAKS["NVIDIA A100-SXM4-80GB"],
            link=300,
            network=25,
        ),
        # The links of a slice, half of the two-way figure; a slice may have so many chips.
        _tpu(
            "v5e",
            "TPU v5 lite",
            gb=16.0,
            peak=Peak(0.819 * _TERA, 197 * _TERA, "data sheet"),
            link=100,
            together=256,
        ),
        _tpu(
            "v5p",
            "TPU v5",
            gb=95.0,
            peak=Peak(2.765 * _TERA, 459 * _TERA, "data sheet"),
            link=300,
            together=8960,
        ),
        _tpu(
            "v6e",
            "TPU v6 lite",
            gb=32.0,
            peak=Peak(1.64 * _TERA, 918 * _TERA, "data sheet"),
            link=224,
            together=256,
        ),
    )
}
"""By the name that ``--device_kind`` takes."""

USABLE = 0.92
"""Share of a device's memory that is planned with: the rest is the compiler's and the driver's."""

DEFAULT_SHARE = 0.75
"""Share of a GPU that JAX takes unless XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise."""


def find_kind(name: str) -> DeviceKind:
    """Finds a kind of device by its name.

    Raises:
      SkillRLError: there is none of this name.
    """
    if name not in KINDS:
        raise SkillRLError(f"--device_kind={name:.40}: choose one of {', '.join(KINDS)}.")
    return KINDS[name]
