"""A cloud with TLS, seen from another machine: clients, login, roles, rotation, and what must be refused."""
import http.client
import json
import os
import pathlib
import socket
import ssl
import stat
import subprocess
import time

import pytest

from bench.lib import cloud

MODEL = "smollm2-135m"


class TlsCloud(cloud.Cloud):
    """A cloud that is used through TLS; `context` trusts only its certificate."""

    def cert(self):
        return self.data / "tls/cert.pem"

    def context(self):
        return ssl.create_default_context(cafile=str(self.cert()))

    def url(self):
        return f"https://127.0.0.1:{self.port}"

    def call(self, path, key=None, body=None, method=None):
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=self.context())
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        data = None if body is None else json.dumps(body)
        connection.request(method or ("GET" if body is None else "POST"), path, body=data, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def wait_ready(self, within=60.0):
        deadline = time.monotonic() + within
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if self.call("/readyz")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise RuntimeError(f"the cloud was not ready within {within} s:\n{self.tail()}")

    def secret(self, role, team=None, name="k"):
        words = ["key", "create", "--role", role, "--name", name, "--json"] + (["--team", team] if team else [])
        return json.loads(self.run(*words).stdout)["secret"]


@pytest.fixture(scope="module")
def remote(smollm2):
    with TlsCloud({MODEL: smollm2}, {"engine.runner": "fake", "tls.self_signed": "true"}) as ours:
        ours.run("team", "create", "red")
        ours.run("team", "create", "blue")
        yield ours


class Machine:
    """A user's machine: its own home directory, without the cloud's data directory."""

    def __init__(self, home):
        self.home = pathlib.Path(home)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PENSTOCK_", "XDG_"))}
        self.env = {**kept, "HOME": str(self.home)}

    def __call__(self, *words, stdin=""):
        return subprocess.run([cloud.PENSTOCK, *map(str, words)], env=self.env, cwd=self.home, text=True, input=stdin,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)

    def ok(self, *words, stdin=""):
        done = self(*words, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def login_file(self):
        return self.home / ".config/penstock/login.json"


@pytest.fixture
def laptop(tmp_path):
    return Machine(tmp_path)


def fingerprint(ours):
    """As OpenSSL's tool prints it."""
    done = subprocess.run(["openssl", "x509", "-in", ours.cert(), "-noout", "-fingerprint", "-sha256"], text=True,
                          stdout=subprocess.PIPE, check=True)
    return done.stdout.strip().split("=")[1]


# ---- outside clients ----

def test_outside_clients_need_the_certificate_to_connect(remote):
    def curl(*words):
        return subprocess.run(["curl", "-sS", *words], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    assert curl("--cacert", remote.cert(), f"{remote.url()}/livez").stdout == "ok\n"
    assert curl("--cacert", remote.cert(), f"https://localhost:{remote.port}/livez").stdout == "ok\n"
    assert curl(f"{remote.url()}/livez").returncode == 60
    hint = curl(f"http://127.0.0.1:{remote.port}/livez")
    assert "https://" in json.loads(hint.stdout)["error"]["message"]
    served = ssl.get_server_certificate(("127.0.0.1", remote.port))
    assert served.strip() == remote.cert().read_text().strip()
    assert stat.S_IMODE((remote.data / "tls/key.pem").stat().st_mode) == 0o600


def test_both_versions_of_tls_work(remote):
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = remote.context()
        context.minimum_version = context.maximum_version = version
        connection = http.client.HTTPSConnection("127.0.0.1", remote.port, timeout=60, context=context)
        for _ in range(2):
            connection.request("GET", "/livez")
            assert connection.getresponse().read() == b"ok\n"
        assert connection.sock.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]


def test_a_stream_over_tls_is_complete_and_billed_exactly(remote):
    key = remote.secret("developer", "red", "streamer")
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 300, "stream": True,
            "ignore_eos": True, "stream_options": {"include_usage": True}}
    status, text = remote.call("/v1/chat/completions", key, body)
    assert status == 200 and text.endswith(b"data: [DONE]\n\n")
    events = [json.loads(line[6:]) for line in text.decode().split("\n\n") if line.startswith("data: {")]
    told = events[-1]["usage"]["completion_tokens"]
    request = events[0]["id"]
    status, record = remote.call(f"/v1/requests/{request}", key)
    assert status == 200 and json.loads(record)["usage"]["completion_tokens"] == told == 300


# ---- this machine's own commands ----

def test_commands_on_the_clouds_machine_find_it_by_its_data_directory(remote):
    status = remote.run("status").stdout
    assert remote.url() in status and fingerprint(remote) in status
    assert fingerprint(remote) in (remote.data / "up.log").read_text()
    assert MODEL in remote.run("model", "ls").stdout and "ready" in remote.run("model", "ls").stdout
    assert f"runs at {remote.url()}" in remote.run("doctor", "--quick", check=False).stdout


# ---- login ----

def test_login_requires_the_right_fingerprint_and_then_every_command_works(remote, laptop):
    key = remote.secret("team_lead", "red", "ann")
    unknown = laptop("login", remote.url(), stdin=key + "\n")
    assert unknown.returncode == 1 and fingerprint(remote) in unknown.stderr and "--fingerprint" in unknown.stderr
    wrong = laptop("login", remote.url(), "--fingerprint", fingerprint(remote)[:-2] + "00", stdin=key + "\n")
    assert wrong.returncode == 1 and "does not match --fingerprint" in wrong.stderr
    assert not laptop.login_file().exists()

    lower = fingerprint(remote).replace(":", "").lower()
    assert "ann (team_lead of team red)" in laptop.ok("login", remote.url(), "--fingerprint", lower, stdin=key + "\n")
    assert stat.S_IMODE(laptop.login_file().stat().st_mode) == 0o600
    assert key not in laptop.login_file().read_text(), "the token is not the key"

    told = laptop("status")
    assert told.returncode == 0 and f"at {remote.url()} as ann" in told.stderr and "is ready" in told.stdout
    assert MODEL in laptop.ok("model", "ls")
    assert "red" in laptop.ok("team", "ls") and "blue" not in laptop.ok("team", "ls")
    made = json.loads(laptop.ok("key", "create", "--name", "bob", "--json"))
    assert made["team"] == "red" and "bob" in laptop.ok("key", "ls") and "login " in laptop.ok("key", "ls")
    answer = json.loads(laptop.ok("chat", MODEL, "hi", "--max-tokens", "3", "--json"))
    assert answer["tokens"] == 3
    assert json.loads(laptop.ok("usage", "--by-key", "--json"))["data"]
    assert "ended as" in laptop.ok("usage", "--request", answer["request"])
    refused = laptop("team", "create", "green")
    assert refused.returncode == 1 and "operator" in refused.stderr and "team_lead" in refused.stderr


def test_a_developer_sees_only_the_own_usage(remote, laptop):
    mine, other = remote.secret("developer", "blue", "mine"), remote.secret("developer", "blue", "other")
    for secret in (mine, other):
        body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
        assert remote.call("/v1/chat/completions", secret, body)[0] == 200
    laptop.ok("login", remote.url(), "--fingerprint", fingerprint(remote), "--key", mine)
    rows = json.loads(laptop.ok("usage", "--by-key", "--json"))["data"]
    assert [row["key"] for row in rows] == ["mine"] and rows[0]["requests"] == 1
    assert "other" not in laptop.ok("key", "ls")
    assert json.loads(laptop.ok("status", "--json"))["seat"]["role"] == "developer"


def test_logout_deletes_the_login_and_revoke_also_revokes_the_token(remote, laptop):
    key = remote.secret("developer", "red", "leaver")

    def token():
        laptop.ok("login", remote.url(), "--fingerprint", fingerprint(remote), "--key", key)
        return json.loads(laptop.login_file().read_text())["token"]

    kept = token()
    assert "still works" in laptop.ok("logout")
    assert not laptop.login_file().exists() and remote.call("/v1/seat", kept)[0] == 200
    gone = token()
    assert "revoked" in laptop.ok("logout", "--revoke")
    assert not laptop.login_file().exists() and remote.call("/v1/seat", gone)[0] == 401
    assert remote.call("/v1/seat", key)[0] == 200, "the key itself still works"
    assert "not logged in" in laptop.ok("logout")


def test_a_login_replaces_the_one_before_it(remote, laptop):
    key = remote.secret("developer", "red", "twice")
    tokens = []
    for _ in range(2):
        laptop.ok("login", remote.url(), "--fingerprint", fingerprint(remote), "--key", key)
        tokens.append(json.loads(laptop.login_file().read_text())["token"])
    assert [remote.call("/v1/seat", t)[0] for t in tokens] == [401, 200]


def test_login_with_a_wrong_key_fails(remote, laptop):
    done = laptop("login", remote.url(), "--fingerprint", fingerprint(remote), "--key", "sk-penstock-wrong")
    assert done.returncode == 1 and "not known" in done.stderr and not laptop.login_file().exists()


def test_a_key_is_not_sent_over_plain_http_to_another_machine(laptop):
    done = laptop("login", "http://cloud.example:8700", "--key", "sk-penstock-x")
    assert done.returncode == 1 and "https://" in done.stderr and "--insecure" in done.stderr


def test_another_certificate_at_the_same_address_is_refused(smollm2, laptop):
    settings = {"engine.runner": "fake", "tls.self_signed": "true"}
    with TlsCloud({MODEL: smollm2}, settings) as ours:
        laptop.ok("login", ours.url(), "--fingerprint", fingerprint(ours), "--key", ours.operator_key())
        assert laptop("team", "ls").returncode == 0
        ours.stop()
        assert not (ours.data / "cloud.json").exists()
        down = laptop("team", "ls")
        assert down.returncode == 1 and "does not answer" in down.stderr
        for file in ("cert.pem", "key.pem"):
            (ours.data / "tls" / file).unlink()
        ours.start()
        other = laptop("team", "ls")
        assert other.returncode == 1 and "not the one that was trusted" in other.stderr


# ---- how `up` listens ----

def test_listening_beyond_this_machine_requires_tls_or_insecure(tmp_path):
    done = subprocess.run([cloud.PENSTOCK, "up", "--listen", f"0.0.0.0:{cloud.free_port()}", "--data", tmp_path],
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 1
    for way in ("--tls-self-signed", "--tls-cert FILE --tls-key FILE", "--insecure"):
        assert way in done.stderr
    assert not (tmp_path / "operator.key").exists()


def own_address():
    """This machine's address on its network; sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            address = probe.getsockname()[0]
        except OSError:
            address = "127.0.0.1"
    return None if address.startswith("127.") else address


def test_every_interface_answers_and_login_uses_the_machines_own_address(smollm2, laptop):
    address = own_address()
    if address is None:
        pytest.skip("this machine has no address but loopback")

    class Everywhere(TlsCloud):
        def start(self, ready_within=60.0):
            self.settings["listen"] = f"0.0.0.0:{self.port}"
            super().start(ready_within)

    with Everywhere({MODEL: smollm2}, {"engine.runner": "fake", "tls.self_signed": "true"}) as ours:
        told = (ours.data / "up.log").read_text()
        assert f"penstock login https://{socket.gethostname()}:{ours.port} --fingerprint {fingerprint(ours)}" in told
        url = f"https://{address}:{ours.port}"
        laptop.ok("login", url, "--fingerprint", fingerprint(ours), "--key", ours.operator_key())
        assert f"{url} is ready" in laptop.ok("status")
        # With the host name, an outside client checks the whole certificate.
        named = subprocess.run(["curl", "-sS", "--cacert", ours.cert(), "--resolve", f"{socket.gethostname()}:{ours.port}:{address}",
                                f"https://{socket.gethostname()}:{ours.port}/livez"], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert named.stdout == "ok\n", named.stderr


def test_the_users_own_certificate_is_used_or_its_error_is_reported(smollm2, tmp_path):
    def certificate(name):
        files = tmp_path / f"{name}.crt", tmp_path / f"{name}.key"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=x",
                        "-addext", "subjectAltName=IP:127.0.0.1", "-out", files[0], "-keyout", files[1]],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return files

    (cert, key), (_, other) = certificate("one"), certificate("other")
    command = [cloud.PENSTOCK, "up", "--listen", f"127.0.0.1:{cloud.free_port()}", "--data", tmp_path / "d", "--tls-cert", cert]
    done = subprocess.run([*command, "--tls-key", other], text=True, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 1 and str(other) in done.stderr and "key values mismatch" in done.stderr

    class Own(TlsCloud):
        def cert(self):
            return cert

    with Own({MODEL: smollm2}, {"engine.runner": "fake", "tls.cert": cert, "tls.key": key}) as ours:
        assert ours.call("/livez") == (200, b"ok\n")
        assert "team 'x'" in ours.run("team", "create", "x").stdout
        # Another program renews the certificate, one file after the other, without a restart.
        before = ssl.get_server_certificate(("127.0.0.1", ours.port))
        renewed, renewed_key = certificate("renewed")
        cert.write_text(renewed.read_text())
        time.sleep(1.5)
        assert ssl.get_server_certificate(("127.0.0.1", ours.port)) == before, "the new certificate has no key yet"
        key.write_text(renewed_key.read_text())
        deadline = time.monotonic() + 30
        while ssl.get_server_certificate(("127.0.0.1", ours.port)) == before:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert "team 'y'" in ours.run("team", "create", "y").stdout
