#!/usr/bin/env bash
# Runs the fault scenarios (or those pytest's arguments select) against ../../bin/tidelog.
# The Python environment is made once and kept outside the checkout.
set -euo pipefail
cd "$(dirname "$0")"
home=${TIDELOG_COMPAT_HOME:-${HOME:?}/.cache/tidelog-compat}
mkdir -p "$home"

venv=$home/faults-$(sha256sum requirements.txt | cut -c1-12)
(
  flock 9
  if [[ ! -e $venv/.complete ]]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r requirements.txt
    touch "$venv/.complete"
  fi
) 9>"$home/faults.lock"

exec "$venv/bin/python" -m pytest "$@"
