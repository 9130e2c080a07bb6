"""From blocks to figures: paired ratios, their spread, and how disturbed the machine was."""

from __future__ import annotations

import mmap
import os
import random
import resource
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

CORES = os.cpu_count() or 1
TICKS = os.sysconf("SC_CLK_TCK")


def median(values) -> float:
    return statistics.median(values)


def interval(values: list[float]) -> tuple[float, float]:
    """A bootstrap 95 % interval of the median; of few values simply their range."""
    if len(values) < 5:
        return min(values), max(values)
    # A fixed seed: the same pairs give the same interval.
    chance = random.Random(1)
    medians = sorted(median(chance.choices(values, k=len(values))) for _ in range(4000))
    return medians[100], medians[3899]


@dataclass
class Row:
    """One figure of both brokers."""

    what: str
    unit: str
    tidelog: list[float]
    kafka: list[float] = field(default_factory=list)
    # Whether block n of one belongs to block n of the other; else the medians are divided.
    paired: bool = True
    # The largest ratio, the smallest one, or the largest figure of Tidelog's, that is aimed at.
    ratio_target: float | None = None
    ratio_least: float | None = None
    target: float | None = None

    def ratios(self) -> list[float]:
        if not self.kafka or not self.paired:
            return []
        return [ours / theirs for ours, theirs in zip(self.tidelog, self.kafka) if theirs]

    def cells(self) -> list[str]:
        ratios = self.ratios()
        if ratios:
            low, high = interval(ratios)
            ratio = f"**{median(ratios):.3f}** [{low:.3f}, {high:.3f}]"
        elif self.kafka and median(self.kafka):
            ratio = f"{median(self.tidelog) / median(self.kafka):.3f}"
        else:
            ratio = ""
        return [self.what, self.unit, _amount(self.tidelog), _amount(self.kafka), ratio, self.aim()]

    def aim(self) -> str:
        if self.ratio_target is not None and self.kafka:
            reached = median(self.ratios() or [median(self.tidelog) / median(self.kafka)]) <= self.ratio_target
            return f"<= {self.ratio_target:.2f} x: {'reached' if reached else 'MISSED'}"
        if self.ratio_least is not None and self.kafka:
            reached = median(self.ratios() or [median(self.tidelog) / median(self.kafka)]) >= self.ratio_least
            return f">= {self.ratio_least:.2f} x: {'reached' if reached else 'MISSED'}"
        if self.target is not None:
            reached = median(self.tidelog) <= self.target
            return f"<= {self.target:g} {self.unit}: {'reached' if reached else 'MISSED'}"
        return ""


def _amount(values: list[float]) -> str:
    if not values:
        return ""
    middle = median(values)
    spread = "" if len(values) < 2 else f" ({_short(min(values))}–{_short(max(values))})"
    return _short(middle) + spread


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


@dataclass
class Table:
    """What one case found."""

    case: str
    title: str
    durability: str
    command: str
    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    others: tuple[str, str] = ("Tidelog", "Kafka 4.3.1")

    def text(self) -> str:
        head = ["figure", "unit", *self.others, "ratio, median of pairs [95 %]", "aim"]
        lines = [f"### {self.title}", "", f"`{self.case}`. Durability class: {self.durability}. Command: `{self.command}`.", ""]
        lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        lines += ["| " + " | ".join(row.cells()) + " |" for row in self.rows]
        if any(row.ratios() for row in self.rows):
            lines += ["", "Pair by pair, in the order they ran:", ""]
            for row in (row for row in self.rows if row.ratios()):
                each = (f"{_short(a)}/{_short(b)} = {a / b:.3f}" for a, b in zip(row.tidelog, row.kafka))
                lines.append(f"- {row.what}: " + ", ".join(each))
        if self.notes:
            lines += [""] + [f"- {note}" for note in self.notes]
        return "\n".join(lines) + "\n"


def _busy() -> tuple[float, float]:
    """CPU seconds of the whole machine that were not idle, and those that the hypervisor took."""
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq) / TICKS, steal / TICKS


def _own() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Noise:
    """The share of the machine that others took while blocks ran."""

    def __init__(self) -> None:
        self.shares: list[float] = []
        self.steals: list[float] = []

    def watch(self, *meters):
        return _Watch(self, meters)

    def note(self) -> str:
        if not self.shares:
            return ""
        one, five, _ = Path("/proc/loadavg").read_text().split()[:3]
        pressure = Path("/proc/pressure/cpu")
        some = pressure.read_text().split()[1:3] if pressure.exists() else ["unknown"]
        return (
            f"Other processes took {median(self.shares):.0%} of the machine's CPU during the blocks "
            f"(median; at most {max(self.shares):.0%}), the hypervisor {median(self.steals):.1%}. "
            f"Load average {one} {five}, CPU pressure {' '.join(some)} afterwards."
        )


class _Watch:
    def __init__(self, noise: Noise, meters):
        self.noise, self.meters = noise, meters

    def _ours(self) -> float:
        return sum(meter.cpu() for meter in self.meters) + _own()

    def __enter__(self):
        self.begin, self.ours, (self.busy, self.steal) = time.monotonic(), self._ours(), _busy()
        return self

    def __exit__(self, *_):
        busy, steal = _busy()
        whole = max(time.monotonic() - self.begin, 1e-3) * CORES
        self.noise.shares.append(max(0.0, (busy - self.busy - (self._ours() - self.ours)) / whole))
        self.noise.steals.append((steal - self.steal) / whole)


def wait_for_quiet(seconds: float, share: float = 0.1) -> None:
    """Waits until the machine has been idle but for `share` of it over one second, or until `seconds` are over."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        (before, _), begin = _busy(), time.monotonic()
        time.sleep(1)
        if (_busy()[0] - before) / (time.monotonic() - begin) / CORES < share:
            return


def warm_memory(size: int) -> None:
    """Touches `size` bytes and frees them, so that the next pages the kernel hands out are backed by real memory.

    A virtual machine may give pages that were free for some seconds back to its host. To take one again costs the
    process that touches it first, up to 2 CPU seconds per GB: more than all that a broker does with the same bytes.
    """
    block = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    block.madvise(mmap.MADV_HUGEPAGE)
    for at in range(0, size, mmap.PAGESIZE):
        block[at] = 1
    block.close()


def disk_probe(directory: Path, times: int = 60) -> float:
    """Median milliseconds of appending 4 KiB and fdatasync."""
    path = directory / "probe"
    took = []
    with open(path, "ab", buffering=0) as file:
        for _ in range(times):
            file.write(bytes(4096))
            begin = time.monotonic()
            os.fdatasync(file.fileno())
            took.append((time.monotonic() - begin) * 1000)
    path.unlink()
    return median(took)
