"""llama.cpp as downloaded by tools/get_peer.sh, and our driver built with it."""
import functools
import pathlib
import subprocess

from . import cloud


@functools.cache
def folder(with_server=False):
    command = [cloud.ROOT / "tools/get_peer.sh"] + (["server"] if with_server else [])
    return pathlib.Path(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip())


@functools.cache
def ggml():
    """The libraries that the ggml runner is built for, as downloaded by tools/get_ggml.sh."""
    command = [cloud.ROOT / "tools/get_ggml.sh", "vulkan"]
    return pathlib.Path(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip())


def driver():
    return program("bench/serve/llama_driver.cc")


@functools.cache
def program(path):
    """Builds one of our programs that use libllama, if it changed, into the peer's folder."""
    peer, source = folder(), cloud.ROOT / path
    header, target = cloud.ROOT / "bench/serve/driver_protocol.h", peer / "bin" / source.stem
    if target.exists() and target.stat().st_mtime > max(source.stat().st_mtime, header.stat().st_mtime):
        return target
    target.parent.mkdir(exist_ok=True)
    libraries = [peer / "lib" / f"lib{name}.so" for name in ("llama", "ggml", "ggml-base")]
    subprocess.run(["clang++-19", "-std=c++23", "-O2", "-I", cloud.ROOT, "-isystem", peer / "include", source,
                    "-o", target, *libraries, "-lfmt", f"-Wl,-rpath,{peer / 'lib'}"], check=True)
    return target
