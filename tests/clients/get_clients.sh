#!/usr/bin/env bash
# Installs pinned versions of the tested clients outside the repository; prints their folder.
#   python/bin/python with openai       node_modules/ with openai, ai and @ai-sdk/openai-compatible
# These versions of the Node packages need Node 18 or newer: Debian 12's own is enough.
set -euo pipefail
folder="${PENSTOCK_BENCH_MODELS:-$HOME/.cache/penstock-dev}/clients"
mkdir -p "$folder"
exec 9>"$folder/.lock"
flock 9
want="openai==3.54.0 openai@5.23.2 @ai-sdk/openai-compatible@2.0.91 ai@6.0.326"
if [[ "$(cat "$folder/VERSIONS" 2>/dev/null)" != "$want" ]]; then
  read -r python_openai node_packages <<<"$want"
  cd "$folder"
  python3 -m venv python
  python/bin/pip install -q --disable-pip-version-check "$python_openai" >&2
  [[ -f package.json ]] || echo '{"private":true,"type":"module"}' >package.json
  # shellcheck disable=SC2086
  npm install --silent --no-audit --no-fund --no-save $node_packages >&2
  echo "$want" >VERSIONS
fi
echo "$folder"
