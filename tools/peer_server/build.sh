#!/usr/bin/env bash
# build.sh PEER: builds PEER/bin/llama-server. Called by tools/get_peer.sh.
set -euo pipefail
peer="$1"
build="$peer/build-server"
launcher=()
command -v ccache >/dev/null && launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
cmake -S "$(dirname "$(readlink -f "$0")")" -B "$build" -G Ninja -DCMAKE_C_COMPILER="${CC:-clang-19}" \
  -DCMAKE_CXX_COMPILER="${CXX:-clang++-19}" "${launcher[@]}" -DPEER="$peer" >"$peer/build-server.log" 2>&1 &&
  ninja -C "$build" llama-server >>"$peer/build-server.log" 2>&1 || {
    tail -30 "$peer/build-server.log" >&2
    echo "get_peer: llama-server was not built; full log: $peer/build-server.log" >&2
    exit 1
  }
mkdir -p "$peer/bin"
(cd "$peer/bin" && ln -sf ../lib/libggml-cpu-*.so .)  # the server looks for backends in its own folder
cp "$build/llama-server" "$peer/bin/llama-server"
rm -rf "$build"
