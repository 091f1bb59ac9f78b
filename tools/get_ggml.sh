#!/usr/bin/env bash
# Gets what the ggml runner is built against and runs on: tools/get_ggml.sh [vulkan] [cuda]
#
# The headers and ready-built libraries of one llama.cpp release (tools/get_peer.sh), with the CPU's backends;
# for each name given, that backend too (npm @node-llama-cpp/linux-x64-NAME).
#
# Lies in ${PENSTOCK_BENCH_MODELS:-~/.cache/penstock-dev}/ggml, never in the repository: lib/ and include/.
# Prints that folder's path. What is there already is not fetched again.
set -euo pipefail

declare -A sha256=(
  [linux-x64-vulkan]=e10577190fc4bd1649d3b655588e5c7a85fc6b6dbf7136fee596cbe9e25521e7
  [linux-x64-cuda]=d6cd3ff39a43b024816952e0bc6452d6711608d26256ff6eb0fe8cf7ff55bb2c
)

here="$(dirname "$(readlink -f "$0")")"
peer="$("$here/get_peer.sh")"
release="$(<"$peer/VERSION")" # "node-llama-cpp 3.22.1"
ggml="$(dirname "$peer")/ggml"
mkdir -p "$ggml"
exec 9>"$ggml/.lock"
flock 9

fetch() {  # BACKEND: libggml-BACKEND.so
  local package="linux-x64-$1" scratch tarball
  scratch="$(mktemp -d "$ggml/.fetch.XXXXXX")"
  cd "$scratch"
  tarball="$(npm pack --silent "@node-llama-cpp/$package@${release#* }" 2>/dev/null)" || {
    echo "get_ggml: npm could not fetch @node-llama-cpp/$package; is npm installed and a registry reachable?" >&2
    return 1
  }
  echo "${sha256[$package]}  $tarball" | sha256sum --check --quiet >&2
  tar xzf "$tarball" "package/bins/$package/libggml-$1.so"
  mv "package/bins/$package/libggml-$1.so" "$ggml/lib/"
  cd "$ggml"
  rm -rf "$scratch"
}

if [[ ! -f "$ggml/VERSION" || "$(<"$ggml/VERSION")" != "$release" ]]; then
  rm -rf "$ggml/lib" "$ggml/include"
  cp -r "$peer/lib" "$peer/include" "$ggml/"
  rm -f "$ggml/lib/llama-addon.node" "$ggml"/lib/libllama-common*
  echo "$release" >"$ggml/VERSION"
fi
for backend in "$@"; do
  [[ -v sha256[linux-x64-$backend] ]] || {
    echo "get_ggml: no backend '$backend' is published ready-built; there are vulkan and cuda" >&2
    exit 1
  }
  [[ -f "$ggml/lib/libggml-$backend.so" ]] || fetch "$backend"
done
echo "$ggml"
