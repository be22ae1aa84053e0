"""Time the compiled harvest against the same work in dense torch, in one run, and measure it at full size.

    python benchmarks/harvest.py ratio [--components 2000 8000] [--batches N]
    python benchmarks/harvest.py full [--tokens N] [--seconds LIMIT] [--keep FOLDER]
    python benchmarks/harvest.py growth
    python benchmarks/harvest.py flat
    python benchmarks/harvest.py card FOLDER

Streams are synthetic: component frequencies fall as a power of their rank, logits are normal with a scale
that differs from position to position. Seconds are given on the clock and as CPU time of all threads; the
latter is what counts on a machine that does other work too. `full` and `growth` keep the inputs in shared
memory, so that the process's other resident memory is what the engine takes (with Python and torch).
The phases of a batch, with plain reads and copies beside them: `cargo run --release --no-default-features
--example harvest_phases`.
"""

import argparse
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from core.decomposition.figures.canvas import BLUE, RED, label, new_page, save
from core.harvest.artifact import Harvest
from core.harvest.kernel import HarvestBatch, HarvestEngine
from core.harvest.preparing import CHUNK_BYTES, fitting_sequences
from core.harvest.queries import ranking
from core.harvest.reference import ReferenceHarvest
from core.harvest.settings import HarvestSettings
from core.harvest.writing import write_harvest

MEGABYTE = 1e6


@dataclass
class Stream:
    """Endless batches of `batch` sequences of `length` tokens."""

    components: int
    live: int
    active: float
    vocabulary: int
    batch: int
    length: int
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        self.draws = torch.Generator().manual_seed(0)
        weights = torch.arange(1, self.live + 1, dtype=torch.float64) ** -0.8
        self.order = torch.randperm(self.components, generator=self.draws)[: self.live]
        self.cumulative = (weights / weights.sum()).cumsum(0)
        rows = self.batch * self.length
        self.importances = torch.zeros(rows, self.components, dtype=self.dtype)
        self.activations = torch.randn(rows, self.components, generator=self.draws).to(self.dtype)
        self.pool = self._probabilities(2 * rows)
        for values in (self.importances, self.activations, self.pool):
            values.share_memory_()
        self.done = 0

    def _probabilities(self, rows: int) -> Tensor:
        pool = torch.empty(rows, self.vocabulary, dtype=self.dtype)
        for part in pool.split(256):
            scale = 3 + 6 * torch.rand(len(part), 1, generator=self.draws)
            logits = torch.randn(len(part), self.vocabulary, generator=self.draws) * scale
            part.copy_(logits.softmax(-1))
        return pool

    def batches(self) -> Iterator[HarvestBatch]:
        """Firings and tokens are fresh in every batch; outputs come from a pool of twice a batch."""
        rows = self.batch * self.length
        shape = (self.batch, self.length)
        while True:
            # Drawn with replacement, so a few more than wanted.
            count = int(rows * self.active * 1.25)
            at = torch.randint(rows, (count,), generator=self.draws)
            ranks = torch.searchsorted(
                self.cumulative, torch.rand(count, generator=self.draws, dtype=torch.float64)
            )
            self.importances.zero_()
            values = torch.rand(count, generator=self.draws).clamp(min=1e-3).to(self.dtype)
            self.importances[at, self.order[ranks.clamp(max=self.live - 1)]] = values
            tokens = (torch.rand(shape, generator=self.draws) ** 4 * self.vocabulary).long()
            start = int(torch.randint(rows, (), generator=self.draws))
            yield HarvestBatch(
                torch.arange(self.done, self.done + self.batch),
                tokens,
                {"all": self.importances.view(*shape, -1)},
                {"all": self.activations.view(*shape, -1)},
                self.pool[start : start + rows].view(*shape, -1),
            )
            self.done += self.batch


def timed(target: HarvestEngine | ReferenceHarvest, batch: HarvestBatch) -> tuple[float, float]:
    """Seconds on the clock and CPU seconds of one batch."""
    wall, cpu = time.perf_counter(), time.process_time()
    target.add_batch(batch)
    return time.perf_counter() - wall, time.process_time() - cpu


def ratio(components: list[int], batches: int) -> None:
    """Both implementations on the same stream, everything switched on."""
    print(
        f"{'components':>10} {'output':>8} {'firings':>8} {'kept':>6} | {'ours tok/s':>10} "
        f"{'torch tok/s':>11} "
        f"{'ratio':>6} | on CPU time {'ours':>8} {'torch':>8} {'ratio':>6}"
    )
    for width in components:
        for share in (1.0, 0.99):
            chosen = HarvestSettings(uniform_examples=64, strongest_examples=16, output_share=share)
            layers, vocabulary = [("all", width)], 4096
            stream = Stream(width, width, 50, vocabulary, 16, 256).batches()
            ours = HarvestEngine(layers, vocabulary, chosen)
            times = []
            for _ in range(batches):
                times.append(timed(ours, next(stream)))
            # The plain side is the same for every batch, two are enough.
            plain = ReferenceHarvest(layers, vocabulary, chosen, torch.float32)
            others = [timed(plain, next(stream)) for _ in range(2)][1:]
            fires = float(ours.components().firings.sum()) / ours.positions
            row = plain.kept_token_mass.count_nonzero() if share == 1 else nucleus_size(stream, share)
            columns = []
            for column in (0, 1):
                mine = 4096 * len(times) / sum(pair[column] for pair in times)
                theirs = 4096 * len(others) / sum(pair[column] for pair in others)
                columns.append((mine, theirs, mine / theirs))
            (a, b, c), (d, e, f) = columns
            name = "exact" if share == 1 else "99%"
            print(
                f"{width:>10} {name:>8} {fires:>8.1f} {float(row):>6.0f} | "
                f"{a:>10.0f} {b:>11.0f} {c:>5.1f}x | "
                f"{'':11} {d:>8.0f} {e:>8.0f} {f:>5.1f}x",
                flush=True,
            )


def nucleus_size(stream: Iterator[HarvestBatch], share: float) -> float:
    """Mean number of tokens that hold the share of a position's mass."""
    probabilities = next(stream).probabilities
    assert probabilities is not None
    ordered = probabilities[:2].float().flatten(0, 1).sort(-1, descending=True).values
    return float(((ordered.cumsum(-1) - ordered) < share).sum(-1).double().mean())


class Memory:
    """Resident memory of this process in MB, without what is shared: now, and its largest since `restart`."""

    def __init__(self) -> None:
        self.largest = self.now()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()

    @staticmethod
    def now() -> float:
        """Resident anonymous memory."""
        found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert found is not None
        return int(found.group(1)) * 1024 / MEGABYTE

    def restart(self) -> None:
        """Forget the largest."""
        self.largest = self.now()

    def _look(self) -> None:
        while True:
            self.largest = max(self.largest, self.now())
            time.sleep(0.02)


def full(tokens: int, seconds: float, keep: Path | None) -> None:
    """The published size: 38,912 components of which 10,000 ever fire, 205 at a position, 50,277 tokens."""
    stream = Stream(38_912, 10_000, 205, 50_277, 8, 256, torch.bfloat16)
    batches = stream.batches()
    size = nucleus_size(batches, 0.99)
    memory = Memory()
    engine = HarvestEngine(
        [("all", 38_912)], 50_277, HarvestSettings(uniform_examples=64, strongest_examples=16)
    )
    print(
        f"Python and torch hold {memory.now():.0f} MB; {size:.0f} tokens hold 99% of a position's output; "
        f"{torch.get_num_threads()} threads"
    )
    start, wall, cpu = time.perf_counter(), 0.0, 0.0
    while engine.positions < tokens and time.perf_counter() - start < seconds:
        recent = (0.0, 0.0)
        for _ in range(16):
            both = timed(engine, next(batches))
            recent = recent[0] + both[0], recent[1] + both[1]
        wall, cpu = wall + recent[0], cpu + recent[1]
        held = {name: round(count / MEGABYTE) for name, count in engine.memory_bytes().items()}
        fires = engine.components().firings.sum() / engine.positions
        print(
            f"{engine.positions:>9,} tokens, {engine.positions / wall:.0f} tok/s on the clock, "
            f"{engine.positions / cpu:.0f} per CPU second (last 16 batches {32_768 / recent[0]:.0f} and "
            f"{32_768 / recent[1]:.0f}), {fires:.0f} firings a token, "
            f"peak {memory.largest:.0f} MB, engine {sum(held.values())} MB {held}",
            flush=True,
        )
    if keep is not None:
        memory.restart()
        start, cpu = time.perf_counter(), time.process_time()
        write_harvest(engine, keep)
        size = sum(path.stat().st_size for path in keep.iterdir()) / MEGABYTE
        print(
            f"written in {time.perf_counter() - start:.1f} s ({time.process_time() - cpu:.1f} CPU s), "
            f"{size:.0f} MB; peak meanwhile {memory.largest:.0f} MB",
            flush=True,
        )
        card(keep)


@dataclass(frozen=True)
class Point:
    """What a stream took up to some point."""

    components: int
    active: int
    tokens: int
    rate: float
    """Tokens per CPU second since the point before."""
    held: float
    """MB the engine holds."""


def grown(components: int, active: int, tokens: list[int]) -> list[Point]:
    """Harvest one stream, vocabulary 4096, up to each of these numbers of tokens."""
    stream = Stream(components, components, active, 4096, 8, 256).batches()
    engine = HarvestEngine(
        [("all", components)], 4096, HarvestSettings(uniform_examples=64, strongest_examples=16)
    )
    points, cpu, before = [], 0.0, 0
    for stop in tokens:
        while engine.positions < stop:
            cpu += timed(engine, next(stream))[1]
        held = sum(engine.memory_bytes().values()) / MEGABYTE
        points.append(Point(components, active, stop, (stop - before) / cpu, held))
        cpu, before = 0.0, stop
    return points


def growth(figure: Path) -> None:
    """Speed and memory against components, firings a token, and tokens, as a table and a figure."""
    half, whole = 32_768, 65_536
    sweeps = {
        "components": [
            grown(width, 50, [half, whole])[1] for width in (1000, 2000, 4000, 8000, 16_000, 32_000)
        ],
        "active": [grown(8000, active, [half, whole])[1] for active in (12, 25, 50, 100, 200)],
        "tokens": grown(8000, 50, [8192 * 2**power for power in range(6)]),
    }
    print(f"{'components':>10} {'active':>6} {'tokens':>8} | {'tok/CPU s':>9} {'engine MB':>9}")
    for points in sweeps.values():
        for point in points:
            print(
                f"{point.components:>10} {point.active:>6} {point.tokens:>8} | "
                f"{point.rate:>9.0f} {point.held:>9.0f}"
            )
    draw(sweeps, figure)


def draw(sweeps: dict[str, list[Point]], path: Path) -> None:
    """The sweeps, speed above memory."""
    page = new_page(2, 3, "Harvest: growth (vocabulary 4,096, 99% of the output mass, 80 examples)")
    labels = {"components": "components", "active": "active components a token", "tokens": "tokens"}
    for column, (name, points) in enumerate(sweeps.items()):
        x = [getattr(point, name) for point in points]
        for row, (what, field, colour) in enumerate(
            [("tokens per CPU second", "rate", BLUE), ("engine, MB", "held", RED)]
        ):
            axis = page.axes[row][column]
            axis.plot(x, [getattr(point, field) for point in points], marker="o", color=colour)
            axis.set_xscale("log", base=2)
            axis.set_xticks(x, [f"{value:,}" for value in x], rotation=20)
            axis.set_ylim(0, 1.08 * max(getattr(point, field) for point in points))
            label(axis, what, labels[name] if row else "")
    save(page.figure, path)


def flat(components: int, vocabulary: int) -> None:
    """Peak of a batch as large as a harvest makes it, when every token is as probable as any other."""
    settings = HarvestSettings(uniform_examples=4, strongest_examples=4)
    positions = fitting_sequences(1, components, vocabulary, settings.output_share)
    draws = torch.Generator().manual_seed(0)
    importances = torch.zeros(1, positions, components).share_memory_()
    importances[..., :20] = torch.rand(1, positions, 20, generator=draws)
    activations = torch.randn(1, positions, components, generator=draws).share_memory_()
    outputs = torch.full((1, positions, vocabulary), 1 / vocabulary).share_memory_()
    tokens = torch.randint(vocabulary, (1, positions), generator=draws)
    engine = HarvestEngine([("all", components)], vocabulary, settings)
    memory, before, wall = Memory(), 0.0, 0.0
    for number in range(4):
        if number == 1:  # the first one also makes the rows, which stay
            before = memory.now()
            memory.restart()
        batch = HarvestBatch(
            torch.tensor([number]), tokens, {"all": importances}, {"all": activations}, outputs
        )
        wall = timed(engine, batch)[0]
    values = sum(array.nbytes for array in (importances, activations, outputs)) / MEGABYTE
    added = memory.largest - before
    print(
        f"{components} components, vocabulary {vocabulary}: {positions} positions, values {values:.0f} MB, "
        f"the engine {added:.0f} MB beside them, together {values + added:.0f} MB of the "
        f"{CHUNK_BYTES / MEGABYTE:.0f} MB a batch may take; {positions / wall:.0f} tok/s"
    )


def card(folder: Path) -> None:
    """Milliseconds to open an artifact and read one component's card and rankings; median of warm reads."""
    numbers = Harvest(folder).firings().to_numpy().nonzero()[0]
    wanted = [int(number) for number in numbers[:: max(1, len(numbers) // 12)]]
    times: dict[str, list[float]] = {"open and read one card": [], "rank its partners": []}
    for component in wanted:
        Harvest(folder).card(component)
        start = time.perf_counter()
        harvest = Harvest(folder)
        harvest.card(component)
        opened = time.perf_counter()
        harvest.firings()
        harvest.tokens()
        middle = time.perf_counter()
        ranking(harvest, component, "component", "pmi", 20)
        times["open and read one card"].append(opened - start)
        times["rank its partners"].append(time.perf_counter() - middle)
    for name, values in times.items():
        ordered = sorted(values)
        print(f"{name}: median {1e3 * ordered[len(ordered) // 2]:.1f} ms, worst {1e3 * ordered[-1]:.1f} ms")


def main() -> None:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "what", choices=["ratio", "full", "growth", "flat", "card"], nargs="?", default="ratio"
    )
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--components", type=int, nargs="+", default=[2000, 8000])
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.what == "ratio":
        ratio(options.components, options.batches)
    elif options.what == "full":
        full(options.tokens, options.seconds, options.keep)
    elif options.what == "growth":
        growth(Path(__file__).parent / "figures" / "harvest_growth.png")
    elif options.what == "flat":
        flat(2000, 50_277)
    else:
        card(options.folder or Path("."))


if __name__ == "__main__":
    main()
