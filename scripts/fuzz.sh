#!/usr/bin/env bash
# Builds the fuzz targets with stable Rust and runs each for a bounded time; fails when one of them finds something.
#   fuzz.sh [SECONDS [TARGET...]]    30 seconds and every target of fuzz/fuzz_targets when nothing is said
#
# cargo-fuzz wants nightly only for its sanitizers. LLVM's coverage instrumentation, which is what libFuzzer steers by,
# can be had from stable through the pass and its options below; libfuzzer-sys brings libFuzzer itself.
#
# Expects ROCKSDB_LIB_DIR and the like, as `make fuzz` sets them. Everything is kept in $CARGO_TARGET_DIR-fuzz, apart
# from the normal build, whose flags differ: what earlier runs discovered (corpus/), and what made a target fail
# (artifacts/).
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-30}
shift $(($# > 0))
targets=("$@")
if ((${#targets[@]} == 0)); then
  for source in fuzz/fuzz_targets/*.rs; do
    targets+=("$(basename "$source" .rs)")
  done
fi
if [[ ! $seconds =~ ^[1-9][0-9]*$ ]]; then
  sed -n '3p' "$0" >&2
  exit 2
fi

locked=()
if [[ -n ${CI:-} ]]; then locked=(--locked); fi
normal=${CARGO_TARGET_DIR:-target}
home=${normal%/}-fuzz
host=$(rustc -vV | sed -n 's/^host: //p')

# With the flags of the normal build: an instrumented program needs libFuzzer to link.
cargo run --quiet "${locked[@]}" --example fuzz-seeds -- "$home/seeds"

flags=(
  --cfg fuzzing
  -Cpasses=sancov-module
  -Cllvm-args=-sanitizer-coverage-level=4
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
  -Cllvm-args=-sanitizer-coverage-pc-table
  -Cllvm-args=-sanitizer-coverage-trace-compares
  # Otherwise branches are merged, and a step towards an interesting input goes unnoticed.
  -Cllvm-args=-simplifycfg-branch-fold-threshold=0
)
# Naming the target keeps the flags away from build scripts and procedural macros.
RUSTFLAGS="${flags[*]}" CARGO_TARGET_DIR=$home \
  cargo build --release "${locked[@]}" --manifest-path fuzz/Cargo.toml --target "$host"

# Directories that a target makes and removes thousands of times belong in memory.
scratch=$(mktemp -d -p "$([[ -w /dev/shm ]] && echo /dev/shm || echo "${TMPDIR:-/tmp}")" tidelog-fuzz.XXXXXX)
trap 'rm -rf "$scratch"' EXIT

failed=()
for target in "${targets[@]}"; do
  mkdir -p "$home/corpus/$target" "$home/artifacts/$target"
  log=$home/$target.log
  status=0
  # A frame or a log of a few kilobytes has everything a larger one has, and many more of them fit into a second.
  TMPDIR=$scratch "$home/$host/release/$target" "$home/corpus/$target" "$home/seeds/$target" \
    -max_total_time="$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
    -artifact_prefix="$home/artifacts/$target/" >"$log" 2>&1 || status=$?
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  if ((status)); then
    failed+=("$target")
    # What went wrong, and the input: as a file, and in base64 for where the file is out of reach.
    grep -aE -A 1 'panicked at|memory allocation of|ERROR: libFuzzer|Test unit written' "$log" | cut -c1-1000 >&2 || true
    echo "fuzz: $target FAILED (status $status) after ${runs:-?} executions; log: $log; again, with the file named above:" >&2
    echo "fuzz:   $home/$host/release/$target FILE" >&2
  else
    covered=$(sed -n 's/.*DONE *cov: \([0-9]*\).*/\1/p' "$log")
    echo "fuzz: $target ran ${runs:?} times in $seconds s and found nothing (${covered:-?} edges covered)"
  fi
done
if ((${#failed[@]})); then
  echo "fuzz: failed: ${failed[*]}" >&2
  exit 1
fi
