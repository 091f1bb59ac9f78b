"""Raw requests and what RFC 9110 and 9112 demand: each with the status of its answer and whether the connection stays.

Behind the bytes of each case comes PROBE in the same write. On a connection that stays it is the next request and must
be answered; on one that closes it was, or could be, part of a body, and must not be.
"""
import dataclasses
import gzip
import json
import zlib

PROBE = b"GET /v1/seat HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n"
KEPT, CLOSED = "kept", "closed"


@dataclasses.dataclass(frozen=True)
class Case:
    group: str
    name: str
    request: bytes  # {key}: a developer's key
    statuses: tuple  # that are right
    end: str = KEPT
    has: tuple = ()  # (header, text that its value contains)
    lacks: tuple = ()  # headers
    cloud: str = "default"  # or "configured": gateway.hosts and gateway.cors_origins are set


H, K = b"Host: localhost\r\n", b"Authorization: Bearer {key}\r\n"
CHAT = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}).encode()
MIB = 1 << 20


def get(target, *headers, version=b"1.1", method=b"GET"):
    return method + b" " + target + b" HTTP/" + version + b"\r\n" + b"".join(headers) + b"\r\n"


def post(body, *headers, host=H, version=b"1.1", length=True):
    sized = (b"Content-Length: %d\r\n" % len(body),) if length else ()
    return get(b"/v1/chat/completions", host, K, *headers, *sized, method=b"POST", version=version) + body


def chunks(body, size=16):
    return b"".join(b"%x\r\n" % len(body[i:i + size]) + body[i:i + size] + b"\r\n" for i in range(0, len(body), size)) + b"0\r\n\r\n"


def chunked(encoding, body=chunks(CHAT), **kw):
    return post(body, *(b"Transfer-Encoding: " + e + b"\r\n" for e in encoding), length=False, **kw)


def zstd(body):
    """A frame of raw blocks (RFC 8878, 3.1.1): enough to carry any body."""
    pieces = [body[i:i + 0x1FFFF] for i in range(0, len(body), 0x1FFFF)]
    blocks = b"".join(((len(p) << 3) | (p is pieces[-1])).to_bytes(3, "little") + p for p in pieces)
    return b"\x28\xb5\x2f\xfd" + b"\xa0" + len(body).to_bytes(4, "little") + blocks


def zstd_bomb(blocks):
    """128 KiB from each 4 bytes, by blocks of one repeated byte."""
    size = 128 << 10
    block = [((size << 3) | 2 | (i == blocks - 1)).to_bytes(3, "little") + b" " for i in range(blocks)]
    return b"\x28\xb5\x2f\xfd" + b"\x00\x58" + b"".join(block)


def coded(name, body):
    return post(body, b"Content-Encoding: " + name + b"\r\n")


def _target():
    for name, target, status, end in [
            ("absolute form", b"http://localhost/v1/models", 200, KEPT), ("absolute form, https", b"https://localhost:443/v1/models", 200, KEPT),
            ("absolute form, upper case", b"HTTP://LocalHost/v1/models", 200, KEPT), ("absolute form, another host", b"http://ai.example/v1/models", 200, KEPT),
            ("absolute form without a path", b"http://localhost", 200, KEPT), ("absolute form with a query", b"http://localhost/v1/models?a=b", 200, KEPT),
            ("absolute form with a user", b"http://u@localhost/v1/models", 400, CLOSED), ("absolute form without a host", b"http:///v1/models", 400, CLOSED),
            ("absolute form of another scheme", b"ftp://localhost/v1/models", 400, CLOSED), ("neither path nor URL", b"v1/models", 400, CLOSED),
            ("a fragment", b"/v1/models#x", 400, CLOSED), ("a slash at the end", b"/v1/models/", 200, KEPT)]:
        yield Case("target", name, get(target, H, K), (status,), end)
    yield Case("target", "absolute form without Host", get(b"http://localhost/v1/models", K), (400,), CLOSED)
    yield Case("target", "OPTIONS *", get(b"*", H, method=b"OPTIONS"), (200, 204))
    yield Case("target", "GET *", get(b"*", H), (400,), CLOSED)
    yield Case("target", "CONNECT", get(b"localhost:1", H, method=b"CONNECT"), (400, 405, 501), CLOSED)
    yield Case("target", "an unknown method", get(b"/livez", H, method=b"BREW"), (501,), CLOSED)
    yield Case("target", "HTTP/2.0", get(b"/livez", H, version=b"2.0"), (505,), CLOSED)


def _host():
    yield Case("host", "none", get(b"/v1/models", K), (400,), CLOSED)
    yield Case("host", "none in 1.0", get(b"/v1/models", K, version=b"1.0"), (200,), CLOSED)
    yield Case("host", "two, equal", get(b"/v1/models", H, H, K), (400,), CLOSED)
    yield Case("host", "two, apart", get(b"/v1/models", H, K, b"HOST: other\r\n"), (400,), CLOSED)
    yield Case("host", "two in 1.0", get(b"/v1/models", H, b"Host: other\r\n", K, version=b"1.0"), (400,), CLOSED)
    yield Case("host", "empty", get(b"/v1/models", b"Host:\r\n", K), (200,))
    for name, value in [("a path", b"a/b"), ("a user", b"a@b"), ("a space", b"a b"), ("a word as port", b"a:b"), ("a list", b"a, b"), ("an open bracket", b"[::1")]:
        yield Case("host", f"invalid: {name}", get(b"/v1/models", b"Host: " + value + b"\r\n", K), (400,), CLOSED)


def _length():
    group = "body length"
    for name, lines, status in [
            ("gzip", [b"gzip"], 400), ("identity", [b"identity"], 400), ("chunked, gzip", [b"chunked, gzip"], 400),
            ("xchunked", [b"xchunked"], 400), ("quoted", [b'"chunked"'], 400), ("a parameter", [b"chunked;a=b"], 400),
            ("chunked twice", [b"chunked, chunked"], 400), ("chunked, then identity", [b"chunked", b"identity"], 400),
            ("identity, then chunked", [b"identity", b"chunked"], (400, 501)), ("empty", [b""], 400), ("gzip, chunked", [b"gzip, chunked"], (400, 501)),
            ("a vertical tab", [b"\x0bchunked"], 400), ("a null", [b"chunked\x00"], 400)]:
        statuses = status if isinstance(status, tuple) else (status,)
        yield Case(group, f"transfer-encoding: {name}", chunked(lines), statuses, CLOSED)
    yield Case(group, "transfer-encoding: chunked", chunked([b"chunked"]), (200,))
    yield Case(group, "transfer-encoding: Chunked with spaces", chunked([b"  Chunked \t"]), (200,))
    yield Case(group, "transfer-encoding in 1.0", chunked([b"chunked"], version=b"1.0"), (400,), CLOSED)
    te, cl = b"Transfer-Encoding: chunked\r\n", b"Content-Length: 4\r\n"
    for name, pair in [("te, cl", (te, cl)), ("cl, te", (cl, te)), ("cl, te gzip", (cl, b"Transfer-Encoding: gzip\r\n")), ("te, cl 0", (te, b"Content-Length: 0\r\n"))]:
        yield Case(group, f"both: {name}", post(b"0\r\n\r\n", *pair, length=False), (400,), CLOSED)
    yield Case(group, "transfer-encoding on a GET", get(b"/v1/models", H, K, b"Transfer-Encoding: gzip\r\n"), (400,), CLOSED)
    yield Case(group, "a space before the colon", post(b"0\r\n\r\n", b"Transfer-Encoding : chunked\r\n", length=False), (400,), CLOSED)
    for name, lines in [("two, apart", [b"4", b"5"]), ("two, equal", [b"0", b"0"]), ("a list", [b"0, 0"]), ("signed", [b"+0"]), ("negative", [b"-1"]),
                        ("hexadecimal", [b"0x0"]), ("empty", [b""]), ("with a word", [b"0 a"]), ("beyond 64 bits", [b"99999999999999999999"])]:
        yield Case(group, f"content-length: {name}", post(b"", *(b"Content-Length: " + n + b"\r\n" for n in lines), length=False), (400,), CLOSED)
    for name, body in [("size beyond 64 bits", b"10000000000000002\r\nhi\r\n0\r\n\r\n"), ("signed size", b"+2\r\nhi\r\n0\r\n\r\n"), ("0x size", b"0x2\r\nhi\r\n0\r\n\r\n"),
                       ("longer than its size", b"1\r\nhi\r\n0\r\n\r\n"), ("shorter than its size", b"3\r\nhi\r\n0\r\n\r\n"), ("size line ends in LF", b"2\nhi\r\n0\r\n\r\n"),
                       ("no size", b"\r\nhi\r\n0\r\n\r\n")]:
        yield Case(group, f"chunk: {name}", post(body, te, length=False), (400,), CLOSED)
    yield Case(group, "chunk: with an extension", post(b"%x;a=b;c=\"d\"\r\n" % len(CHAT) + CHAT + b"\r\n0\r\n\r\n", te, length=False), (200,))
    yield Case(group, "chunk: endless extension", post(b"5;" + b"a" * 200_000, te, length=False), (400, 413, 431), CLOSED)
    yield Case(group, "a key in a trailer", get(b"/v1/models", H, te) + b"0\r\nAuthorization: Bearer {key}\r\n\r\n", (401,))
    hidden = get(b"/livez", H)
    yield Case(group, "a request inside a body", post(b"{}" + hidden), (400,))
    yield Case(group, "a request inside a chunk", chunked([b"chunked"], chunks(hidden, 1000)), (400,))
    yield Case(group, "a request inside a refused body", get(b"/nowhere", H, K, b"Content-Length: %d\r\n" % 64, method=b"POST") + b"x" * 64, (404,))
    yield Case(group, "larger than the limit", post(b"", b"Content-Length: 999999999\r\n", length=False), (413,), CLOSED)


def _bytes():
    for name, lines in [("folded by a space", b"x: a\r\n b\r\n"), ("folded by a tab", b"x: a\r\n\tb\r\n"), ("folded transfer-encoding", b"Transfer-Encoding:\r\n chunked\r\n"),
                        ("LF in a value", b"x: a\ny: b\r\n"), ("CR in a value", b"x: a\ry: b\r\n"), ("null in a value", b"x: a\x00b\r\n"),
                        ("no name", b": a\r\n"), ("no colon", b"abc\r\n"), ("space in a name", b"a b: c\r\n")]:
        yield Case("bytes", name, get(b"/v1/models", H, K, lines), (400,), CLOSED)
    yield Case("bytes", "space before the first header", b"GET /livez HTTP/1.1\r\n Host: localhost\r\n\r\n", (400,), CLOSED)
    yield Case("bytes", "only line feeds", b"GET /livez HTTP/1.1\nHost: localhost\n\n", (400,), CLOSED)
    yield Case("bytes", "empty lines before", b"\r\n\r\n" + get(b"/livez", H), (200,))
    yield Case("bytes", "headers too long", get(b"/livez", H, b"x: " + b"a" * 100_000 + b"\r\n"), (431,), CLOSED)


def _keys():
    basic, own = b"Authorization: Basic dTpw\r\n", b"x-api-key: {key}\r\n"
    yield Case("keys", "authorization twice", get(b"/v1/models", H, K, K), (400,), CLOSED)
    yield Case("keys", "bearer and basic", get(b"/v1/models", H, K, basic), (400,), CLOSED)
    yield Case("keys", "x-api-key twice", get(b"/v1/models", H, own, own), (400,), CLOSED)
    yield Case("keys", "basic, x-api-key", get(b"/v1/models", H, basic, own), (200,))
    yield Case("keys", "x-api-key, basic", get(b"/v1/models", H, own, basic), (200,))
    yield Case("keys", "only basic", get(b"/v1/models", H, basic), (401,))
    yield Case("keys", "bearer, wrong x-api-key", get(b"/v1/models", H, K, b"x-api-key: no\r\n"), (200,))
    yield Case("keys", "wrong x-api-key, bearer", get(b"/v1/models", H, b"x-api-key: no\r\n", K), (200,))


def _coding():
    text = CHAT + b" " * MIB
    for name, body in [("gzip", gzip.compress(text)), ("x-gzip", gzip.compress(text)), ("gzip", gzip.compress(CHAT[:9]) + gzip.compress(CHAT[9:])),
                       ("deflate", zlib.compress(text)), ("deflate", zlib.compress(text)[2:-4]), ("zstd", zstd(text)), ("zstd", zstd(CHAT)), ("identity", text)]:
        yield Case("coding", f"{name}, {len(body)} bytes", coded(name.encode(), body), (200,))
    for name in (b"br", b"compress", b"gzip, gzip", b"gzip;q=1"):
        yield Case("coding", f"unknown: {name.decode()}", coded(name, CHAT), (415,), CLOSED, has=(("accept-encoding", "gzip, deflate, zstd"),))
    for name, body in [("gzip", CHAT), ("gzip", gzip.compress(CHAT)[:-1]), ("gzip", gzip.compress(CHAT) + b"x"), ("deflate", b"\xff" * 40), ("zstd", zstd(CHAT)[:-1]), ("zstd", CHAT)]:
        yield Case("coding", f"damaged {name}, {len(body)} bytes", coded(name.encode(), body), (400,))
    zeros = zlib.compressobj(9, zlib.DEFLATED, -15)
    mebibyte = zeros.compress(bytes(MIB)) + zeros.flush(zlib.Z_FULL_FLUSH)  # refers to nothing before it
    bomb = gzip.compress(b"")[:10] + mebibyte * 1024 + b"\x03\x00"  # 1 GiB; nobody gets as far as its checksum
    yield Case("coding", "a bomb of gzip", coded(b"gzip", bomb), (413,))
    yield Case("coding", "a bomb of zstd", coded(b"zstd", zstd_bomb(8192)), (413,))


def _expect():
    wait = b"Expect: 100-continue\r\n"
    yield Case("expect", "100-continue", post(CHAT, wait), (100,))  # and then 200: see the judge
    yield Case("expect", "100-continue in 1.0", post(CHAT, wait, version=b"1.0"), (200,), CLOSED)
    yield Case("expect", "100-continue, refused", get(b"/v1/chat/completions", H, wait, b"Content-Length: 9\r\n", method=b"POST") + b"not asked", (401,))
    yield Case("expect", "something else", post(CHAT, b"Expect: wonders\r\n"), (417,), CLOSED)


def _web():
    evil = b"Host: evil.example\r\n"
    for path in (b"/metrics", b"/", b"/v1/models", b"/nowhere"):
        yield Case("web", f"another host, no key: {path.decode()}", get(path, evil), (403,))
        yield Case("web", f"another host, a wrong key: {path.decode()}", get(path, evil, b"Authorization: Bearer no\r\n"), (401, 403))
    for path in (b"/livez", b"/readyz"):
        yield Case("web", f"another host: {path.decode()}", get(path, evil), (200,))
    yield Case("web", "another host with a key", get(b"/v1/models", evil, K), (200,))
    for host in (b"localhost:1", b"127.0.0.1", b"[::1]:8700", b"a.localhost"):
        yield Case("web", f"a loopback host: {host.decode()}", get(b"/metrics", b"Host: " + host + b"\r\n"), (200,))
    yield Case("web", "a host of the setting", get(b"/metrics", b"Host: AI.example:443\r\n"), (200,), cloud="configured")
    yield Case("web", "a host beside the setting", get(b"/metrics", b"Host: x.ai.example\r\n"), (403,), cloud="configured")
    yield Case("web", "headers of an answer", get(b"/v1/usage", b"Host: 127.0.0.1\r\n", K), (200,), has=(("x-content-type-options", "nosniff"), ("cache-control", "no-store"), ("keep-alive", "timeout=75")))
    origin, ask = b"Origin: https://app.example\r\n", b"Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n"
    allow = "access-control-allow-origin"
    yield Case("web", "preflight, by default", get(b"/v1/chat/completions", H, origin, ask, method=b"OPTIONS"), (204, 403), lacks=(allow,))
    yield Case("web", "cors, by default", get(b"/v1/models", H, K, origin), (200,), lacks=(allow,))
    yield Case("web", "preflight", get(b"/v1/chat/completions", H, origin, ask, method=b"OPTIONS"), (200, 204), cloud="configured",
               has=((allow, "https://app.example"), ("access-control-allow-methods", "POST"), ("access-control-allow-headers", "authorization")))
    yield Case("web", "cors", get(b"/v1/models", H, K, origin), (200,), cloud="configured", has=((allow, "https://app.example"), ("vary", "origin")))
    yield Case("web", "cors, an error", get(b"/v1/models", H, origin), (401,), cloud="configured", has=((allow, "https://app.example"),))
    yield Case("web", "cors, another site", get(b"/v1/models", H, K, b"Origin: https://evil.example\r\n"), (200,), cloud="configured", lacks=(allow,))
    yield Case("web", "a path without /v1", get(b"/chat/completions", H, K), (404,))
    yield Case("web", "a path without /v1, no key", get(b"/chat/completions", H), (404,))


CASES = [*_target(), *_host(), *_length(), *_bytes(), *_keys(), *_coding(), *_expect(), *_web()]
CHANNELS = ("plain", "tls")
OLD_SUITES = ("ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA384")
NEW_SUITES = ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305")
assert len({(case.group, case.name) for case in CASES}) == len(CASES)
