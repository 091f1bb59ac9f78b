#!/usr/bin/env bash
# Gets what the ggml runner is built against and runs on: tools/get_ggml.sh [vulkan] [cuda]
#
# The headers of one llama.cpp release (tools/get_peer.sh), and its ready-built libraries (packaging/get-ggml)
# with the CPU's backends; for each name given, that backend too.
#
# Lies in ${PENSTOCK_BENCH_MODELS:-~/.cache/penstock-dev}/ggml, never in the repository: lib/ and include/.
# Prints that folder's path. What is there already is not fetched again.
set -euo pipefail

here="$(dirname "$(readlink -f "$0")")"
get="$here/../packaging/get-ggml"
peer="$("$here/get_peer.sh")"
release="$(<"$peer/VERSION")" # "node-llama-cpp 3.22.1"
ggml="$(dirname "$peer")/ggml"
mkdir -p "$ggml"
exec 9>"$ggml/.lock"
flock 9

if [[ ! -f "$ggml/VERSION" || "$(<"$ggml/VERSION")" != "$release" ]]; then
  rm -rf "$ggml/lib" "$ggml/include"
  "$get" "$ggml/lib"
  cp -r "$peer/include" "$ggml/"
  echo "$release" >"$ggml/VERSION"
fi
for backend in "$@"; do
  [[ -f "$ggml/lib/libggml-$backend.so" ]] || "$get" "$ggml/lib" "$backend"
done
echo "$ggml"
