#!/usr/bin/env bash
# Prints the directory of a librocksdb.a built from the very sources the rocksdb crate ships.
#
# Compiling RocksDB takes a quarter of an hour, and every clean target folder would pay it again. So it is
# built once per (crate version, C++ compiler, architecture) and kept outside the checkout; the Makefile points
# cargo at it with ROCKSDB_LIB_DIR and ROCKSDB_STATIC. Same sources and same headers as the crate's own build,
# hence no risk of a binary mismatch, which a distribution's librocksdb would bring.
#
# Only the directory goes to standard output; what the build says goes to standard error.
# TIDELOG_ROCKSDB_CACHE says where archives are kept (default: ~/.cache/tidelog-rocksdb).
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cache=${TIDELOG_ROCKSDB_CACHE:-${HOME:?}/.cache/tidelog-rocksdb}

# locked_version CRATE: the version Cargo.lock names for it.
locked_version() {
  awk -v want="name = \"$1\"" '
    $0 == want { found = 1; next }
    found && $1 == "version" { gsub(/"/, "", $3); print $3; exit }
  ' "$root/Cargo.lock"
}

crate=$(locked_version rocksdb)
sys=$(locked_version librocksdb-sys)
if [[ -z $crate || -z $sys ]]; then
  echo "rocksdb-archive: Cargo.lock names no rocksdb and librocksdb-sys" >&2
  exit 1
fi

# Two features of the dependency line reach the C++ build, so they belong to the key and to the project below.
features=lz4,bindgen-runtime
key="librocksdb-sys-$sys-${features%%,*}-clang-$(uname -m)"
dir=$cache/$key
archive=$dir/librocksdb.a

if [[ ! -s $archive ]]; then
  mkdir -p "$dir"
  # One build at a time: a second `make` waits here, then finds the archive of the first.
  exec 9>"$cache/$key.lock"
  flock 9
  if [[ ! -s $archive ]]; then
    echo "rocksdb-archive: building RocksDB once for this machine (10 to 20 minutes) ..." >&2
    # Objects and generated bindings take a few hundred megabytes: gone however this ends.
    work=$(mktemp -d "$cache/build.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    mkdir "$work/src"
    cat >"$work/Cargo.toml" <<TOML
[package]
name = "rocksdb-archive"
version = "0.0.0"
edition = "2021"
publish = false

[dependencies]
rocksdb = { version = "=$crate", default-features = false, features = ["${features//,/\", \"}"] }
# The C++ sources come with this one; pin it, or a newer one could be taken under an old key.
librocksdb-sys = { version = "=$sys", default-features = false }

[profile.release]
opt-level = 2

[workspace]
TOML
    echo '//! Exists only to have RocksDB compiled.' >"$work/src/lib.rs"
    env -u ROCKSDB_LIB_DIR -u ROCKSDB_STATIC CC=clang CXX=clang++ CARGO_TARGET_DIR="$work/target" \
      cargo build --release --manifest-path "$work/Cargo.toml" >&2
    built=$(find "$work/target/release/build" -path '*librocksdb-sys-*/out/librocksdb.a' -print -quit)
    if [[ -z $built ]]; then
      echo "rocksdb-archive: the build left no librocksdb.a" >&2
      exit 1
    fi
    # Copy, then rename: nobody ever sees half an archive under the final name.
    partial=$(mktemp "$dir/.partial.XXXXXX")
    cp "$built" "$partial"
    chmod 644 "$partial"
    sync "$partial"
    mv "$partial" "$archive"
  fi
fi

echo "$dir"
