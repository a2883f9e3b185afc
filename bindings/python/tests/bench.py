"""What crossing the seam costs in Python: one line of JSON per path. ``cargo xtask bench bindings``."""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import segue
from segue._ffi import native

WIDTH, HEIGHT = 1280, 720
RUNS = 5
"""The figure is the minimum of this many medians: the machine is never quiet, but sometimes for a moment."""


def resident_megabytes() -> float:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure(call: Callable[[], object], calls: int) -> float:
    """Microseconds of one call."""
    medians = []
    for _ in range(RUNS):
        times = []
        for _ in range(calls):
            start = time.perf_counter_ns()
            call()
            times.append(time.perf_counter_ns() - start)
        medians.append(statistics.median(times) / 1_000)
    return min(medians)


def line(path: str, limit_us: float, call: Callable[[], object], calls: int = 2_000) -> None:
    """Measures and prints."""
    us = round(measure(call, calls), 1)
    met = us <= limit_us
    print(json.dumps({"bench": "bindings", "language": "python", "path": path, "us": us, "limit_us": limit_us, "met": met}), flush=True)


def memory(frames: int) -> None:
    """Frames in and out: memory stays as it is."""
    source = segue.VideoSource(WIDTH, HEIGHT)
    native.measure_video(source._native)
    picture = segue.VideoBuffer(WIDTH, HEIGHT)
    first = 0.0
    for number in range(frames):
        frame = segue.VideoFrame(native.measure_frame(WIDTH, HEIGHT))
        _ = frame.y
        if number % 16 == 0:
            source.push(picture)
        if number == frames // 10:
            gc.collect()
            first = resident_megabytes()
    gc.collect()
    grown = round(resident_megabytes() - first, 2)
    print(json.dumps({"bench": "bindings", "language": "python", "path": f"{frames} frames", "grown_mb": grown}), flush=True)


def main() -> None:
    """All of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="nothing else is printed anyway")
    parser.add_argument("--only", help="this language")
    parser.add_argument("--frames", type=int, default=1_000_000, help="how many frames memory is watched over")
    arguments = parser.parse_args()

    source = segue.VideoSource(WIDTH, HEIGHT)
    native.measure_video(source._native)
    array = np.zeros((HEIGHT * 3 // 2, WIDTH), np.uint8)
    data = array.tobytes()
    received = segue.VideoFrame(native.measure_frame(WIDTH, HEIGHT))
    line("720p in, numpy", 60, lambda: source.push(array))
    line("720p in, bytes", 60, lambda: source.push(data))
    line("720p in, a frame that was received", 60, lambda: source.push(received))
    line("720p out, handle and view", 15, lambda: segue.VideoFrame(native.measure_frame(WIDTH, HEIGHT)).y)
    sound = segue.AudioSource()
    native.measure_audio(sound._native)
    samples = np.zeros(960, np.int16)
    line("20 ms of audio in", 20, lambda: sound.push(samples))
    line("20 ms of audio out", 20, lambda: segue.AudioFrame(native.measure_sound()).samples)
    memory(arguments.frames)


if __name__ == "__main__":
    main()
