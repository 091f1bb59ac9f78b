"""A bare Debian 12 that boots: made once with debootstrap, copied for each part, with systemd in systemd-nspawn.

It shares this machine's network, so that apt, pip and cargo work as they do here; it gets this machine's name
servers, proxies and certificates, and nothing else of its configuration. Penstock listens on its own port there.
"""
import glob
import os
import pathlib
import shutil
import subprocess
import time

from bench.lib import cloud, docs

BASE = cloud.MODELS / "debian12.tar"
MIRROR = "http://deb.debian.org"
INCLUDED = "systemd-sysv,dbus,sudo"  # every installed Debian has these; debootstrap's minbase does not
HOME = "home/you"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Debian:
    def __init__(self, folder, name):
        self.name, self.port = name, cloud.free_port()
        self.root = folder / f"root-{name}"
        self.log = folder / f"{name}.log"
        self.boot_log = folder / f"{name}.boot.log"
        self.container = self.shell = None
        self.terminals = []

    # ---- making ----

    def start(self):
        make_base()
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)
        subprocess.run(["tar", "-C", self.root, "-xpf", BASE], check=True)
        self.configure()
        self.boot()
        self.run_as_root("apt-get -qq update")
        env = ["env", "-i", "HOME=/" + HOME, "USER=you", f"PATH={PATH}", "LANG=C.UTF-8", "TERM=dumb",
               f"PENSTOCK_LISTEN=127.0.0.1:{self.port}", *carried_environment()]
        self.inside = [*self.enter(), "runuser", "-u", "you", "--", *env]
        self.shell = docs.Shell([*self.inside, "bash", "--noprofile", "--norc", "-c", f"cd /{HOME}; exec bash --noprofile --norc -o pipefail"])
        self.log.write_text("")

    def configure(self):
        def write(path, text, mode=0o644):
            path = self.root / path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(mode)

        write("etc/apt/sources.list", f"deb {MIRROR}/debian bookworm main\ndeb {MIRROR}/debian bookworm-updates main\n"
                                      f"deb {MIRROR}/debian-security bookworm-security main\n")
        write("etc/apt/apt.conf.d/90machine", "".join(apt_settings()))
        write("etc/hosts", "127.0.0.1 localhost\n127.0.1.1 newcomer\n")
        write("etc/hostname", "newcomer\n")
        for certificate in glob.glob("/usr/local/share/ca-certificates/*.crt"):
            target = self.root / "usr/local/share/ca-certificates"
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(certificate, target)
        write("etc/sudoers.d/you", 'you ALL=(ALL) NOPASSWD: ALL\nDefaults env_keep += "PENSTOCK_LISTEN"\n', 0o440)
        write("etc/systemd/system/penstock.service.d/port.conf", f"[Service]\nEnvironment=PENSTOCK_LISTEN=127.0.0.1:{self.port}\n")
        subprocess.run(["chroot", self.root, "useradd", "-m", "-s", "/bin/bash", "you"], check=True)

    def boot(self):
        self.container = subprocess.Popen(
            ["systemd-nspawn", "-q", "-D", self.root, "-M", f"newcomer-{self.name}", "--register=no", "--keep-unit",
             "--resolv-conf=copy-host", "--console=pipe", "-b"],
            stdin=subprocess.DEVNULL, stdout=self.boot_log.open("w"), stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            self.leader = first_child(self.container.pid)
            if self.leader:
                state = subprocess.run([*self.enter(), "systemctl", "is-system-running"], text=True,
                                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.strip()
                if state in ("running", "degraded"):
                    return
            if self.container.poll() is not None:
                break
            time.sleep(0.3)
        raise RuntimeError(f"Debian did not boot: {self.boot_log}")

    def enter(self):
        return ["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-p", "-n", "--"]

    def run_as_root(self, command):
        done = subprocess.run([*self.enter(), "env", "-i", f"PATH={PATH}", "DEBIAN_FRONTEND=noninteractive", "sh", "-c", command],
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise RuntimeError(f"{command}: {done.stdout[-1000:]}")

    # ---- giving ----

    def give(self, *paths):
        for path in paths:
            shutil.copy(path, self.root / HOME)
        self.run_as_root(f"chown -R you: /{HOME}")

    def give_clone(self):
        """A bare clone of the committed files, in place of the repository's address."""
        target = self.root / "srv/penstock.git"
        subprocess.run(["git", "clone", "-q", "--bare", "--no-hardlinks", cloud.ROOT, target], check=True)
        self.run_as_root("chown -R you: /srv/penstock.git")

    # ---- using ----

    def type(self, command, quiet=False):
        """Returns (status, output, seconds). The log gets the command, or its heading for a check, and the output."""
        status, output, seconds = self.shell.type(command)
        with self.log.open("a") as log:
            log.write(f"{'# checked: ' if quiet else '$ '}{command.strip()}\n{output}" + f"[status {status}, {seconds:.1f} s]\n\n")
        return status, output, seconds

    def open_terminal(self, command):
        path = self.log.with_suffix(".terminal.log")
        environment = self.type("echo $PATH", quiet=True)[1].strip()
        self.terminals.append(subprocess.Popen(
            [*self.inside, f"PATH={environment}", "bash", "-c", f"cd /{HOME}; exec {command.strip()}"],
            stdin=subprocess.DEVNULL, stdout=path.open("w"), stderr=subprocess.STDOUT))
        self.wait_ready()

    def wait_ready(self, within=60):
        from bench.lib import sse
        deadline = time.monotonic() + within
        while sse.call(self.port, "/readyz", timeout=5).status != 200:
            if time.monotonic() > deadline:
                raise RuntimeError(f"not ready within {within} s: {self.log.with_suffix('.terminal.log')}")
            time.sleep(0.1)

    def stop(self):
        if self.shell:
            self.shell.close()
        if self.container and self.container.poll() is None:
            self.container.terminate()  # nspawn then shuts the system down
            try:
                self.container.wait(60)
            except subprocess.TimeoutExpired:
                self.container.kill()
                self.container.wait()


def make_base():
    if BASE.exists():
        return
    BASE.parent.mkdir(parents=True, exist_ok=True)
    scratch = BASE.with_suffix(".making")
    shutil.rmtree(scratch, ignore_errors=True)
    subprocess.run(["debootstrap", "--variant=minbase", f"--include={INCLUDED}", "bookworm", scratch, f"{MIRROR}/debian"],
                   check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["tar", "-C", scratch, "-cf", BASE.with_suffix(".new"), "."], check=True)
    BASE.with_suffix(".new").rename(BASE)
    shutil.rmtree(scratch)


def apt_settings():
    """This machine's apt settings for its servers: proxies, and whether old signatures are accepted."""
    dump = subprocess.run(["apt-config", "dump"], text=True, stdout=subprocess.PIPE, check=True).stdout
    wanted = ("Acquire::http", "Acquire::https", "Acquire::Check-")
    return [line + "\n" for line in dump.splitlines() if line.startswith(wanted)]


def carried_environment():
    """Proxies, and the certificates for programs that do not use the system's."""
    proxies = [f"{name}={value}" for name, value in os.environ.items() if name.lower() in ("http_proxy", "https_proxy", "no_proxy")]
    return [*proxies, "NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt"]


def first_child(pid):
    path = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    try:
        children = path.read_text().split()
    except OSError:
        return None
    return int(children[0]) if children else None
