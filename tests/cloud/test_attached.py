"""An external server as the engine, over TLS. The server is a second Penstock, because it has the OpenAI API."""
import contextlib
import time

import pytest

from bench.lib import cloud, sse

MODEL = "smollm2-135m"


def wait_for(ours, words):
    """Waits until `up` has printed these words."""
    while words not in (said := (ours.data / "up.log").read_text()):
        assert ours.process.poll() is None, said
        time.sleep(0.05)
    return said


@contextlib.contextmanager
def started(ours):
    """A cloud whose readiness is not checked over plain HTTP."""
    try:
        ours.import_models()
        ours.start(ready_within=None)
        yield ours
    finally:
        ours.stop()


@pytest.fixture(scope="module")
def upstream(penstock, smollm2, tmp_path_factory):
    ours = cloud.Cloud({MODEL: smollm2}, data=tmp_path_factory.mktemp("upstream"),
                       settings={"engine.runner": "fake", "tls.self_signed": "true"})
    with started(ours):
        wait_for(ours, "ready after")
        yield ours


def attached_to(upstream, smollm2, data, **settings):
    return cloud.Cloud({MODEL: smollm2}, data=data, env={"PENSTOCK_ENGINE_URL_KEY": upstream.operator_key()},
                       settings={"engine.url": f"https://127.0.0.1:{upstream.port}", **settings})


def test_a_cloud_behind_another_streams_through_tls(upstream, smollm2, tmp_path):
    settings = {"engine.url_ca": upstream.data / "tls/cert.pem"}
    with attached_to(upstream, smollm2, tmp_path, **settings) as ours:
        answer = sse.call(ours.port, "/v1/chat/completions", key=ours.key(), body={
            "model": MODEL, "stream": True, "max_tokens": 20, "messages": [{"role": "user", "content": "Hello"}]})
        assert (answer.status, answer.done, answer.finish_reason()) == (200, True, "length")
        assert answer.text()


def test_an_untrusted_server_is_reported_with_engine_url_and_fix(upstream, smollm2, tmp_path):
    with started(attached_to(upstream, smollm2, tmp_path)) as ours:
        engine_says = f"engine cpu0: the upstream at https://127.0.0.1:{upstream.port}: its certificate is not trusted (self-signed)"
        said = wait_for(ours, "not ready yet")
        assert engine_says in said and "engine.url_ca" in said
        answer = sse.call(ours.port, "/v1/completions", key=ours.key(), body={"model": MODEL, "prompt": "Hi"})
        assert answer.status == 503 and engine_says in answer.error()


@pytest.mark.parametrize("settings, status, words", [
    ({"engine.url": "ftp://gpu7"}, 2, "engine.url must be http://HOST:PORT or https://HOST, not 'ftp://gpu7'"),
    ({"engine.url": "https://gpu7", "engine.url_ca": "/nowhere.pem"}, 1, "engine.url_ca: /nowhere.pem"),
    ({"engine.url": "http://gpu7", "engine.url_ca": "/ca.pem"}, 1, "url_ca sets the trusted CAs of an https:// server"),
])
def test_impossible_settings_are_refused_at_start(penstock, tmp_path, settings, status, words):
    ours = cloud.Cloud({}, data=tmp_path)
    done = ours.run("up", "--listen", "127.0.0.1:0", *(f"--set={k}={v}" for k, v in settings.items()), check=False)
    assert done.returncode == status and words in done.stdout
