#!/usr/bin/env bash
# Downloads the headers and libraries that the ggml runner needs: tools/get_ggml.sh [vulkan] [cuda]
#
# The headers of one llama.cpp release (tools/get_peer.sh), and its prebuilt libraries (packaging/get-ggml)
# with the CPU backends, and each named backend.
#
# They are stored in ${PENSTOCK_BENCH_MODELS:-~/.cache/penstock-dev}/ggml, outside the repository: lib/ and include/.
# Prints the path of that folder. Existing files are not downloaded again.
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
