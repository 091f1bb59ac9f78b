"""llama.cpp as fetched by tools/get_peer.sh, and our driver built against it."""
import functools
import pathlib
import subprocess

from . import cloud


@functools.cache
def folder(with_server=False):
    command = [cloud.ROOT / "tools/get_peer.sh"] + (["server"] if with_server else [])
    return pathlib.Path(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip())


@functools.cache
def driver():
    """bench/serve/llama_driver.cc, built beside the peer when it changed."""
    peer, source = folder(), cloud.ROOT / "bench/serve/llama_driver.cc"
    header, target = source.with_name("driver_protocol.h"), peer / "bin/llama_driver"
    if target.exists() and target.stat().st_mtime > max(source.stat().st_mtime, header.stat().st_mtime):
        return target
    target.parent.mkdir(exist_ok=True)
    libraries = [peer / "lib" / f"lib{name}.so" for name in ("llama", "ggml", "ggml-base")]
    subprocess.run(["clang++-19", "-std=c++23", "-O2", "-I", cloud.ROOT, "-isystem", peer / "include", source,
                    "-o", target, *libraries, "-lfmt", f"-Wl,-rpath,{peer / 'lib'}"], check=True)
    return target
