"""Helpers of the client scripts: each check is a named function that fails by raising an exception."""
import json
import os
import sys
import time
import traceback
import urllib.error
import urllib.request

URL = os.environ["PENSTOCK_URL"]  # http://127.0.0.1:PORT
KEY = os.environ["PENSTOCK_KEY"]
OPERATOR_KEY = os.environ["PENSTOCK_OPERATOR_KEY"]
MODEL = os.environ["PENSTOCK_MODEL"]
BUSY_URL = os.environ.get("PENSTOCK_BUSY_URL", "")  # a cloud that runs one request and queues one
BUSY_KEY = os.environ.get("PENSTOCK_BUSY_KEY", "")

_checks = []


def check(function):
    """Registers a check; its name is the function's name as words."""
    _checks.append((function.__name__.replace("_", " "), function))
    return function


def run_all(client):
    """Prints one JSON row per check; the exit status is 1 if one failed."""
    wanted = sys.argv[1:]
    failed = 0
    for name, function in _checks:
        if wanted and not any(word in name for word in wanted):
            continue
        began = time.monotonic()
        row = {"client": client, "check": name, "ok": True}
        try:
            function()
        except Exception as error:  # a check may fail in any way; the row says which
            failed += 1
            where = traceback.extract_tb(error.__traceback__)[-1]
            last = next((f for f in reversed(traceback.extract_tb(error.__traceback__)) if "tests/clients" in f.filename), where)
            row |= {"ok": False, "detail": f"{type(error).__name__}: {error} (line {last.lineno}: {last.line})"[:600]}
        row["ms"] = round((time.monotonic() - began) * 1000)
        print(json.dumps(row), flush=True)
    sys.exit(1 if failed else 0)


def raw(method, path, body=None, key=KEY, headers=None):
    """Status, headers and decoded body, without a client library."""
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data, method=method, headers=headers or {})
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    if data is not None:
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, dict(answer.headers), json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), json.loads(error.read() or b"null")


def admin(method, path, body=None):
    status, _, answer = raw(method, "/admin/v1" + path, body, key=OPERATOR_KEY)
    assert status in (200, 201), f"admin {method} {path}: {status} {answer}"
    return answer


def record_of(request_id, until="ended", within=5.0):
    """GET /v1/requests/{id}, once the request has ended."""
    deadline = time.monotonic() + within
    while True:
        status, _, record = raw("GET", f"/v1/requests/{request_id}")
        if status == 200 and record["state"] == until:
            return record
        assert time.monotonic() < deadline, f"request {request_id} has not {until}: {status} {record}"
        time.sleep(0.05)
