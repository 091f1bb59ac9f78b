#!/usr/bin/env bash
# Downloads llama.cpp, the peer that benches compare with: tools/get_peer.sh [server]
#
# Prebuilt libllama and ggml (packaging/get-ggml), and the sources they were built from
# (the git bundle in npm node-llama-cpp) for their headers. With `server`, also builds llama.cpp's own
# llama-server from those sources with the prebuilt libraries (some minutes).
#
# It is stored in ${PENSTOCK_BENCH_MODELS:-~/.cache/penstock-dev}/peer, outside the repository:
#   lib/      libllama.so, libggml*.so; load the CPU backends with ggml_backend_load_all_from_path(lib)
#   include/  llama.h, ggml*.h
#   src/      the whole source tree at the release
#   bin/llama-server   with `server`
# Prints the path of that folder. A second call downloads nothing.
set -euo pipefail

self="$(readlink -f "$0")"
get="$(dirname "$self")/../packaging/get-ggml"
version="$("$get" --release)"
sources_sha256=a0d9dd80eacd2ab1cfe71aee57ac8a806487fd70b3d2a38fbec637752d9e5c5f

peer="${PENSTOCK_BENCH_MODELS:-$HOME/.cache/penstock-dev}/peer"
mkdir -p "$peer"
exec 9>"$peer/.lock"
flock 9

fetch_package() {  # NAME SHA256 → path of the checked tarball
  local tarball
  tarball="$(npm pack --silent "$1@$version" 2>/dev/null)" || {
    echo "get_peer: npm could not download $1@$version; check that npm is installed and a registry is reachable" >&2
    return 1
  }
  echo "$2  $tarball" | sha256sum --check --quiet >&2 || return 1
  echo "$tarball"
}

install_libraries() {
  local scratch
  scratch="$(mktemp -d "$peer/.fetch.XXXXXX")"
  trap 'rm -rf "$scratch"' RETURN
  cd "$scratch"
  "$get" lib
  tar xzf "$(fetch_package node-llama-cpp $sources_sha256)" package/llama/gitRelease.bundle
  git -c advice.detachedHead=false clone --quiet package/llama/gitRelease.bundle src
  rm -rf src/.git
  mkdir include
  cp src/include/*.h src/ggml/include/*.h include/
  rm -rf "$peer/lib" "$peer/src" "$peer/include"
  mv lib src include "$peer/"
  cd "$peer"
  echo "node-llama-cpp $version" >"$peer/VERSION"
}

# Links the server's own objects (with its common and multimodal parts) to the prebuilt libraries, so
# that the server contains the same engine that the engine bench measures.
build_server() {
  "$(dirname "$self")/peer_server/build.sh" "$peer"
}

[[ -f "$peer/VERSION" && "$(cat "$peer/VERSION")" == "node-llama-cpp $version" ]] || install_libraries
[[ "${1:-}" != server || -x "$peer/bin/llama-server" ]] || build_server
echo "$peer"
