"""How fast the store decodes and gathers, and how much memory many pictures take.

    python benchmarks/store.py                # speed, 256x256 px, about a minute
    python benchmarks/store.py --many 50000   # memory, 64x64 px, four to six minutes

Everything is written into a new folder inside --folder, about 2 GB, and removed afterwards. Memory
is RssAnon of /proc/self/status (Linux): what the process itself holds, without the pages of files
that it has mapped and that the system may drop at any time.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from imseg.data.cache.store import Stored, changed_sources, gather, open_array, store_split
from imseg.data.folder.scan import read_folder
from imseg.types import DataSet

BATCH = 32
REPEATS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--many", type=int, help="count memory with so many pictures of 64x64 px")
    parser.add_argument("--images", type=int, default=2000, help="pictures to decode")
    parser.add_argument("--rows", type=int, default=4000, help="pictures to gather from")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        if arguments.many is not None:
            measure_memory(Path(folder), arguments.many)
        else:
            measure_decoding(Path(folder), arguments.images)
            measure_gathering(Path(folder), arguments.rows)


def measure_decoding(folder: Path, count: int) -> None:
    write_data(folder / "data", count, labeled=count // 2, side=256)
    dataset = read_folder(folder / "data")
    for workers in (1, 2, 1, 2):
        place = folder / f"store-{workers}"
        options = {"entries": dataset.labeled, "name": "labeled", "workers": workers}
        _, seconds = timed(lambda p=place, o=options: store(dataset, p, **o))
        speed = len(dataset.labeled) / seconds
        print(f"pairs stored, {workers} workers: {speed:,.0f} a second")
        remove(place)
    options = {"entries": dataset.unlabeled, "name": "unlabeled"}
    stored, seconds = timed(lambda: store(dataset, folder / "store", **options))
    print(f"pictures stored, 2 workers: {len(stored.names) / seconds:,.0f} a second")
    again, seconds = timed(lambda: store(dataset, folder / "store", **options))
    speed = stored.images.stat().st_size / seconds / 1e9
    print(f"verified, 2 workers: {speed:.2f} GB/s, decoded {again.decoded}")
    changed, seconds = timed(lambda: changed_sources(stored))
    print(f"looked for changes: {seconds * 1e6 / len(stored.names):.0f} us a picture, {changed}")


def measure_gathering(folder: Path, count: int) -> None:
    print(f"copying memory: {copying_speed():.1f} GB/s with one thread")
    path = folder / "rows.npy"
    array = np.lib.format.open_memmap(path, "w+", np.uint8, (count, 256, 256, 3))
    for row in range(count):
        array[row] = row % 251
    array.flush()
    for threads in (1, 2):
        speeds = [gathering_speed(open_array(path), threads, seed) for seed in range(REPEATS)]
        print(
            f"gathered from {count} pictures of 256x256x3, batches of {BATCH}, {threads} threads: "
            f"{np.median(speeds):,.0f} a second ({min(speeds):,.0f} to {max(speeds):,.0f})"
        )


def measure_memory(folder: Path, count: int) -> None:
    peak = PeakMemory()
    with peak.phase("start"):
        time.sleep(0.1)
    with peak.phase("pictures generated"):
        write_data(folder / "data", count, labeled=count // 10, side=64)
    with peak.phase("folder read"):
        dataset = read_folder(folder / "data")
    options = {"size": (64, 64), "folder": folder / "store"}
    with peak.phase("stored"):
        labeled = store(dataset, entries=dataset.labeled, name="labeled", **options)
        unlabeled = store(dataset, entries=dataset.unlabeled, name="unlabeled", **options)
    with peak.phase("stored again"):
        again = store(dataset, entries=dataset.unlabeled, name="unlabeled", **options)
        print(f"decoded again: {again.decoded} of {len(again.names)}")
    with peak.phase("looked for changes"):
        print(f"changed: {changed_sources(labeled)} {changed_sources(unlabeled)}")
    with peak.phase("iterated"):
        images = sum(iterate(open_array(stored.images), 0) for stored in (labeled, unlabeled))
        print(f"iterated over {images} pictures")


class PeakMemory:
    """The most anonymous memory of the process in each phase."""

    def __init__(self) -> None:
        self._peak = 0
        threading.Thread(target=self._watch, daemon=True).start()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self._peak, start = anonymous_memory(), time.perf_counter()
        yield
        seconds, self._peak = time.perf_counter() - start, max(self._peak, anonymous_memory())
        print(f"{name}: {seconds:.1f} s, at most {self._peak / 1e6:,.0f} MB")

    def _watch(self) -> None:
        while True:
            self._peak = max(self._peak, anonymous_memory())
            time.sleep(0.02)


def anonymous_memory() -> int:
    """Return RssAnon in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not tell RssAnon")


def write_data(root: Path, count: int, *, labeled: int, side: int) -> None:
    """Write a data folder of colored disks on noise, the first ones with masks."""
    for name in ("labeled/images", "labeled/masks", "unlabeled"):
        (root / name).mkdir(parents=True)
    numbers = np.random.Generator(np.random.PCG64(0))
    rows, columns = np.ogrid[:side, :side]
    for index in range(count):
        y, x, radius = numbers.uniform(0.2, 0.8, 3) * side
        disk = (rows - y) ** 2 + (columns - x) ** 2 < (radius / 3) ** 2
        pixels = numbers.integers(0, 16, (side, side, 3), np.uint8)
        pixels += numbers.integers(0, 120, 3, np.uint8)
        pixels[disk] += np.uint8(100)
        name = f"{index:06}.png"
        place = root / "labeled/images" if index < labeled else root / "unlabeled"
        Pillow.fromarray(pixels).save(place / name, compress_level=1)
        if index < labeled:
            mask = disk.astype(np.uint8) * 255
            Pillow.fromarray(mask).save(root / "labeled/masks" / name, compress_level=1)


def store(
    dataset: DataSet,
    folder: Path,
    *,
    entries: tuple,
    name: str,
    size: tuple[int, int] = (256, 256),
    workers: int = 2,
) -> Stored:
    return store_split(
        entries, folder, name, spec=dataset.spec, reading=dataset.reading, size=size,
        workers=workers,
    )  # fmt: skip


def iterate(array: np.ndarray, seed: int) -> int:
    """Gather every row once, in random batches, and return how many there were."""
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(array))
    out = np.empty((BATCH, *array.shape[1:]), array.dtype)
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        gather(array, rows, out[: len(rows)])
    return len(order)


def gathering_speed(array: np.ndarray, threads: int, seed: int) -> float:
    """Return rows a second, each thread gathering every row once."""
    with ThreadPoolExecutor(threads) as pool:
        start = time.perf_counter()
        done = sum(pool.map(lambda thread: iterate(array, seed + 99 * thread), range(threads)))
        return done / (time.perf_counter() - start)


def copying_speed() -> float:
    """Return the bytes copied, in GB a second, by copying 256 MB: the most that gathering can."""
    source = np.ones(1 << 28, np.uint8)
    target = source.copy()
    seconds = [timed(lambda: np.copyto(target, source))[1] for _ in range(REPEATS)]
    return source.nbytes / 1e9 / float(np.median(seconds))


def timed(function: Callable) -> tuple:
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


if __name__ == "__main__":
    main()
