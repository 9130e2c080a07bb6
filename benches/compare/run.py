#!/usr/bin/env python3
"""Tidelog beside Apache Kafka on this machine: `make bench`. ../README.md says what each case does."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import cases
import cleaner_cases
import group_cases
import storage_cases
import txn_cases
from brokers import ROOT, Tidelog

RESULTS = ROOT / "benches" / "RESULTS.md"
CASES = cases.CASES | group_cases.CASES | txn_cases.CASES | storage_cases.CASES | cleaner_cases.CASES
PAIRS_AT_MOST = cases.PAIRS_AT_MOST | txn_cases.PAIRS_AT_MOST | storage_cases.PAIRS_AT_MOST | cleaner_cases.PAIRS_AT_MOST


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    number = lambda name, default: float(os.environ.get(name, default))  # noqa: E731
    parser.add_argument("--case", action="append", choices=list(CASES), help="only this one; may be repeated (BENCH_CASES=a,b)")
    parser.add_argument("--pairs", type=int, default=int(number("BENCH_PAIRS", 8)), help="pairs of blocks (BENCH_PAIRS)")
    parser.add_argument("--gigabytes", type=float, default=number("BENCH_GB", 1), help="size of a block (BENCH_GB)")
    parser.add_argument("--seconds", type=float, default=number("BENCH_SECONDS", 8), help="length of a paced block (BENCH_SECONDS)")
    parser.add_argument("--partitions", type=int, default=int(number("BENCH_PARTITIONS", 1)), help="of the topics under load (BENCH_PARTITIONS)")
    parser.add_argument("--starts", type=int, default=int(number("BENCH_STARTS", 10)), help="starts on an empty directory (BENCH_STARTS)")
    parser.add_argument("--quiet", type=float, default=number("BENCH_QUIET_S", 20), help="seconds to wait at most for others to calm down before a pair (BENCH_QUIET_S)")  # fmt: skip
    parser.add_argument("--write-results", action="store_true", help="put the tables into benches/RESULTS.md, each in place of its case's earlier one")
    chosen = parser.parse_args()
    chosen.case = chosen.case or [name for name in os.environ.get("BENCH_CASES", "").split(",") if name] or list(CASES)
    return chosen


def machine(directory: Path) -> str:
    """What the figures were measured on, without naming the machine."""
    cpu = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    memory = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[1]) / 2**20
    kernel = re.match(r"\d+(\.\d+)*", os.uname().release)[0]
    virtual = ", virtual" if "hypervisor" in Path("/proc/cpuinfo").read_text() else ""
    java = subprocess.run(["java", "-version"], capture_output=True, text=True).stderr
    jdk = re.search(r'version "([^"]+)"', java)
    found = subprocess.run(["findmnt", "-no", "FSTYPE", "-T", str(directory)], capture_output=True, text=True).stdout.strip()
    return (
        f"{os.cpu_count()} cores ({cpu[1] if cpu else 'unknown'}{virtual}), {memory:.0f} GiB, Linux {kernel}, data on {found}, "
        f"JDK {jdk[1] if jdk else 'unknown'}; "
        "brokers and client share the machine"
    )


def commit() -> str:
    """What was measured: BENCH_COMMIT when the program comes from elsewhere, else this checkout's commit."""
    if "BENCH_COMMIT" in os.environ:
        return os.environ["BENCH_COMMIT"]
    git = lambda *words: subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True).stdout.strip()  # noqa: E731
    return git("rev-parse", "--short=10", "HEAD") + (" with changes in src" if git("status", "--porcelain", "src", "Cargo.toml") else "")


def write_results(case: str, text: str) -> None:
    """Replaces the section of one case; others keep theirs, with the date and commit they were measured at."""
    begin, end = f"<!-- {case} -->", f"<!-- end of {case} -->"
    section = f"{begin}\n{text}{end}"
    page = RESULTS.read_text()
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.S)
    page = pattern.sub(lambda _: section, page) if pattern.search(page) else page.rstrip() + "\n\n" + section + "\n"
    RESULTS.write_text(page)


def main() -> int:
    chosen = arguments()
    if not Tidelog.program.exists():
        print(f"{Tidelog.program} does not exist: run `make build`, or set TIDELOG_BIN", file=sys.stderr)
        return 2
    # Stopped by a supervisor or by Ctrl-C alike, no broker stays behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    base = os.environ.get("BENCH_DIR")
    if base:
        Path(base).mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="tidelog-bench-", dir=base))
    measured_on = machine(directory)
    print(f"{measured_on}\ncommit {commit()}\n", flush=True)
    failed = []
    try:
        for case in chosen.case:
            pairs = min(chosen.pairs, PAIRS_AT_MOST.get(case, chosen.pairs))
            settings = {"pairs": pairs, "gigabytes": chosen.gigabytes, "partitions": chosen.partitions, "seconds": chosen.seconds}
            shown = [word for key, value in settings.items() for word in (f"--{key}", f"{value:g}")]
            plan = cases.Plan(
                directory=directory, command=shlex.join(["benches/compare/run.py", "--case", case, *shown]),
                starts=chosen.starts, quiet_s=chosen.quiet, **settings,
            )  # fmt: skip
            begin = time.monotonic()
            try:
                table = CASES[case](plan)
            except (RuntimeError, OSError, TimeoutError) as error:
                print(f"### {case} failed: {error}\n", flush=True)
                failed.append(case)
                continue
            text = table.text()
            print(f"{text}\n({time.monotonic() - begin:.0f} s)\n", flush=True)
            if chosen.write_results:
                write_results(case, f"{text}\n{date.today()}, commit {commit()}: {measured_on}.\n")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
