#!/usr/bin/env bash
# Installs pinned packages that control a browser, outside the repository; prints two lines: the folder with their
# node_modules, and the browser. playwright-core 1.56 needs Node 18 or newer: Debian 12's is enough.
set -euo pipefail
folder="${PENSTOCK_BENCH_MODELS:-$HOME/.cache/penstock-dev}/console"
mkdir -p "$folder"
exec 9>"$folder/.lock"
flock 9
want="playwright-core@1.56.1 axe-core@4.10.3"
if [[ "$(cat "$folder/VERSIONS" 2>/dev/null)" != "$want" ]]; then
  cd "$folder"
  [[ -f package.json ]] || echo '{"private":true,"type":"module"}' >package.json
  # shellcheck disable=SC2086
  npm install --silent --no-audit --no-fund --no-save $want >&2
  echo "$want" >VERSIONS
fi
find_browser() { command -v chromium-headless-shell || command -v chromium; }
if ! find_browser >/dev/null; then
  if [[ $EUID -ne 0 ]]; then
    echo "no Chromium here; as root: apt-get install -y --no-install-recommends chromium-headless-shell" >&2
    exit 1
  fi
  echo "installing Debian's chromium-headless-shell (500 MB)" >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium-headless-shell >&2
fi
echo "$folder"
find_browser
