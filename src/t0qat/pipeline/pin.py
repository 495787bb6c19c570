"""The pin: settings that let numerical libraries give the same bits on every x86-64 processor with AVX2.

Libraries choose kernels by the processor, and each kernel rounds in its own order. The pin holds them
to one choice that all processors with AVX2 and FMA have, and to one thread. They read it when they are
loaded, so it must stand in the environment of a process before the process starts: entry points (make,
kernels, worker processes) see to that, and importing this package changes nothing. Older x86-64
processors and other architectures cannot be pinned. Only the standard library is loaded here: make runs
this file before anything is installed.
"""

import contextlib
import functools
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

KERNELS = {
    "ATEN_CPU_CAPABILITY": "avx2",  # torch's own kernels
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # torch's convolutions
    "MKL_CBWR": "COMPATIBLE",  # torch's products; its branch AVX2 is heeded on Intel alone
    "OPENBLAS_CORETYPE": "Haswell",  # numpy's and scipy's products
    "NPY_DISABLE_CPU_FEATURES": "X86_V4,AVX512_ICL,AVX512_SPR",  # numpy's own kernels
}
# Small models: many processes of one thread each; more threads only wait for one another.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
NEEDED = {"avx2", "fma"}


@functools.cache
def possible() -> bool:
    """Whether this is Linux on an x86-64 processor with AVX2 and FMA."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return False
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    return platform.machine() == "x86_64" and flags >= NEEDED


def settings() -> dict[str, str]:
    """The environment variables of the pin; where it is not possible, those of one thread."""
    return ONE_THREAD | (KERNELS if possible() else {})


@functools.cache
def in_force() -> bool:
    """Whether this process started with the pin: what was set later, libraries may not have seen."""
    if not possible():
        return False
    started = Path("/proc/self/environ").read_bytes().split(b"\0")
    return {f"{name}={value}".encode() for name, value in settings().items()} <= set(started)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Hold BLAS, and torch where it is loaded, to one thread: more only wait for one another."""
    from threadpoolctl import threadpool_limits

    torch = sys.modules.get("torch")  # which takes seconds to import
    before = torch.get_num_threads() if torch else 0
    if torch:
        torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        if torch:
            torch.set_num_threads(before)


def main() -> None:
    """Print the lines that pin a shell; where that is not possible, say so."""
    for name, value in settings().items():
        print(f"export {name}={value}")
    if not possible():
        print("not pinned: this needs Linux on an x86-64 processor with AVX2 and FMA", file=sys.stderr)


if __name__ == "__main__":
    main()
