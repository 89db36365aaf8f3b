"""The memory of this machine: how much is available, and the most that this process has held."""

import sys

import psutil
import torch


def available_memory(device: torch.device | None = None) -> int:
    """Bytes that are available on a device; by default, and for the CPU, those of the machine's main memory."""
    if device is not None and device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def peak_memory(device: torch.device | None = None) -> int:
    """The most bytes that torch has held on a CUDA device; by default, and for the CPU, that this process has held."""
    if device is not None and device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "linux":
        # What getrusage has may be of the process that started this one.
        with open("/proc/self/status", encoding="ascii") as file:
            (peak,) = (line for line in file if line.startswith("VmHWM:"))
        return 1024 * int(peak.split()[1])
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource  # there is none on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
