"""What a computer computes with is told apart from what another one does."""

import os
from pathlib import Path
from typing import Any

import jax
import pytest

from models import _device

AMD = "processor\t: 0\nmodel name\t: AMD EPYC\ncpu MHz\t\t: {mhz}\nflags\t\t: fpu sse2 {more}\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd\nCPU part\t: {part}\n"


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """From what the kernel tells of its processors to their name."""

    def of(text: str) -> str:
        (tmp_path / "cpuinfo").write_text(text)
        monkeypatch.setattr(_device, "_CPUINFO", tmp_path / "cpuinfo")
        return _device.processor()

    return of


def test_a_processor_is_told_by_its_model_and_what_it_can(named: Any) -> None:
    one = named(AMD.format(mhz="2445.4", more="avx2"))

    assert named(AMD.format(mhz="1500.0", more="avx2")) == one
    assert named(AMD.format(mhz="2445.4", more="avx2 avx512f")) != one
    assert named(ARM.format(part="0xd40")) != named(ARM.format(part="0xd4f"))


def test_the_number_of_processors_counts(named: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    two = named(AMD)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})

    assert named(AMD) != two


def test_where_the_kernel_tells_nothing_the_platform_does(
    named: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = named("processor\t: 0\n")
    monkeypatch.setattr(_device, "_CPUINFO", Path("/nowhere"))

    assert _device.processor() == unknown
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert _device.processor() != unknown


def test_a_gpu_is_told_by_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gpu:
        platform, device_kind = "gpu", "NVIDIA H100 80GB HBM3"

        def __str__(self) -> str:
            return "cuda:0"

    monkeypatch.setattr(jax, "local_devices", lambda: [Gpu()])

    assert _device.identities()[0] == "cuda:0 NVIDIA H100 80GB HBM3"


@pytest.mark.parametrize("name", ["NPROC", "PJRT_NPROC", "XLA_FLAGS"])
def test_what_sets_threads_or_rounding_counts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _device.identities()
    monkeypatch.setenv(name, "1")

    assert _device.identities() != before
