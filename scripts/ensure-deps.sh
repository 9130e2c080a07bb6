#!/usr/bin/env bash
# Makes sure that what a target needs from the system is there.
#   ensure-deps.sh build    a C++ compiler and libclang, for RocksDB
#   ensure-deps.sh bench    the above, and what Apache Kafka and its Java client need
#   ensure-deps.sh compat   the above, and the toolchains of the other clients under compat-tests/
#   ensure-deps.sh faults   what a build needs, and what tests/faults does things to a broker with
# As root, missing packages are installed with apt-get. Otherwise the command to type is printed and this fails.
# Prints nothing when nothing is missing.
set -euo pipefail

missing=()
# need PACKAGE TEST...: PACKAGE is missing unless the test command succeeds.
need() {
  local package=$1
  shift
  "$@" >/dev/null 2>&1 || missing+=("$package")
}
libclang_present() {
  [[ -n ${LIBCLANG_PATH:-} ]] || compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' || compgen -G '/usr/lib/*/libclang*.so*' || compgen -G '/usr/lib64/libclang*.so*'
}
venv_present() { python3 -c 'import venv, ensurepip'; }
jdk_present() { java -version && javac -version; }

case ${1:-build} in
  build) ;;
  bench | compat)
    need python3 command -v python3
    need default-jdk-headless jdk_present
    need maven command -v mvn
    ;;&
  bench) ;;
  compat)
    need kcat command -v kcat
    need python3-venv venv_present
    need nodejs command -v node
    need npm command -v npm
    need golang command -v go
    # Scenarios with a disk of their own mount it, which only root may; for others they are skipped.
    if [[ $(id -u) -eq 0 ]]; then
      need e2fsprogs command -v mkfs.ext4
      need mount command -v mount
    fi
    ;;
  faults)
    need python3 command -v python3
    need python3-venv venv_present
    # Without these the scenarios that need them are skipped; only root may mount, and install them.
    if [[ $(id -u) -eq 0 ]]; then
      need strace command -v strace
      need util-linux command -v prlimit
      need e2fsprogs command -v mkfs.ext4
      need mount command -v mount
    fi
    ;;
  *)
    sed -n '2,8p' "$0" >&2
    exit 2
    ;;
esac
need clang command -v clang++
need libclang-dev libclang_present
need build-essential command -v cc

if ((${#missing[@]})); then
  if [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null; then
    echo "ensure-deps: installing ${missing[*]}" >&2
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
  else
    echo "Missing on this machine: ${missing[*]}" >&2
    echo "On Debian or Ubuntu:     sudo apt-get install ${missing[*]}" >&2
    exit 1
  fi
fi

if ! command -v cargo >/dev/null; then
  echo "Missing on this machine: a Rust toolchain, 1.95 or newer. Install rustup, then: rustup toolchain install stable" >&2
  exit 1
fi
if [[ ${1:-build} == compat ]]; then
  # From 1.21 on, go fetches the toolchain a module asks for by itself, through the module proxy.
  version=$(go env GOVERSION)
  minor=${version#go1.}
  minor=${minor%%[!0-9]*}
  if ((${minor:-0} < 21)); then
    echo "Missing on this machine: Go 1.21 or newer (found $version)" >&2
    exit 1
  fi
fi
