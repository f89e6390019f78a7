"""Who may ask: this machine, or whoever holds the token; never another site's page."""

from __future__ import annotations

import time

import pytest

from finecut.errors import UsageError
from finecut.server.auth import SESSION_S, Gatekeeper
from finecut.server.run import check_bind
from finecut.server.settings import Settings, is_loopback
from server.serving import serving

TOKEN = "correct-horse-battery"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PLACES = ["/api/v1/search?q=red", "/api/v1/videos", "/api/v1/index", "/metrics"]


def kind(answer):
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body = answer.json()
    assert body["status"] == answer.status_code and body["title"] and body["detail"]
    return answer.status_code, body["type"].rpartition(":")[2]


@pytest.mark.parametrize("path", ["/", *PLACES, "/health", "/openapi.json", "/api/v1/none"])
def test_every_answer_carries_the_safety_headers(client, path):
    headers = client.get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'self';")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "", "10.0.0.7:8500"]
)
def test_dns_rebinding_is_refused(client, host):
    assert kind(client.get("/api/v1/index", headers={"Host": host})) == (421, "unknown-host")
    assert kind(client.get("/", headers={"Host": host})) == (421, "unknown-host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8500", "127.0.0.1:1", "[::1]:8500"])
def test_own_names_are_answered(client, host):
    assert client.get("/api/v1/index", headers={"Host": host}).status_code == 200


def test_a_named_host_is_answered(made, connect):
    client = connect(made.index, allowed_hosts=["films.lan"])
    assert client.get("/health", headers={"Host": "films.lan:8500"}).status_code == 200
    assert client.get("/health", headers={"Host": "other.lan"}).status_code == 421


def test_without_a_token_only_this_machine(made, connect):
    assert kind(connect(made.index, address="192.168.1.9").get("/")) == (403, "not-this-machine")
    assert connect(made.index, address="::1").get("/").status_code == 200
    assert connect(made.index, address="192.168.1.9", token=TOKEN).get("/").status_code == 200


@pytest.mark.parametrize(
    ("address", "inside"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("::ffff:127.0.0.1", True),
     ("localhost", True), ("0.0.0.0", False), ("::", False), ("192.168.0.2", False),
     ("example.org", False), ("", False)],
)  # fmt: skip
def test_what_is_this_machine(address, inside):
    assert is_loopback(address) is inside
    if inside:
        check_bind(address, None)
    else:
        with pytest.raises(UsageError, match="needs a token"):
            check_bind(address, None)
    check_bind(address, TOKEN)


@pytest.mark.parametrize("path", PLACES)
def test_the_token_is_asked_for(made, connect, path):
    client = connect(made.index, token=TOKEN)
    for headers in (
        {},
        {"Authorization": "Bearer wrong-wrong-wrong-wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Cookie": "finecut_00000000=9999999999.abc"},
    ):
        answer = client.get(path, headers=headers)
        assert kind(answer) == (401, "token-needed")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert client.get(path, headers=BEARER).status_code == 200


@pytest.mark.parametrize("path", ["/", "/page/app.js", "/health", "/ready", "/openapi.json"])
def test_what_a_token_is_not_asked_for(made, connect, path):
    assert connect(made.index, token=TOKEN).get(path).status_code == 200


def test_the_cookie_of_a_login_opens_pictures(made, connect):
    client = connect(made.index, token=TOKEN)
    url = f"/api/v1/videos/{made.id_of('night.mp4')}/media"
    assert client.get("/api/v1/session").json() == {"token_required": True, "admitted": False}
    assert kind(client.post("/api/v1/session")) == (401, "token-wrong")
    assert client.get(url).status_code == 401
    answer = client.post("/api/v1/session", headers=BEARER)
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and TOKEN not in cookie
    assert client.get(url).status_code == 200  # the client keeps cookies
    assert client.get("/api/v1/session").json()["admitted"] is True
    client.delete("/api/v1/session")
    assert client.get(url).status_code == 401


def test_a_cookie_is_signed_and_ends():
    keeper = Gatekeeper(TOKEN, "place")
    now = time.time()
    value = keeper.new_session(now)
    expiry, _, signature = value.partition(".")

    def admits(value: str) -> bool:
        return keeper.admits(None, f"{keeper.cookie}={value}")

    assert admits(value)
    assert not admits(keeper.new_session(now - SESSION_S - 1))
    assert not admits(f"{int(expiry) + 1}.{signature}")
    assert not admits(f".{signature}") and not admits(expiry) and not admits("")
    # Another replica with the same token takes it; a server with another token does not.
    assert Gatekeeper(TOKEN, "place").admits(None, f"{keeper.cookie}={value}")
    assert not Gatekeeper(TOKEN + "x", "place").admits(None, f"{keeper.cookie}={value}")


def test_a_cookie_alone_changes_nothing(made, connect):
    client = connect(made.index, token=TOKEN)
    client.post("/api/v1/session", headers=BEARER)
    del client.headers["X-Finecut"]
    assert kind(client.post("/api/v1/index/jobs")) == (403, "header-missing")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_sites_change_nothing(client, headers):
    for method, path in (("POST", "/api/v1/index/jobs"), ("DELETE", "/api/v1/index/jobs/x")):
        assert kind(client.request(method, path, headers=headers)) == (403, "cross-site")


def test_other_sites_embed_nothing(client, made):
    url = f"/api/v1/videos/{made.id_of('night.mp4')}/media"
    for site, status in (
        ("cross-site", 403),
        ("same-site", 403),
        ("same-origin", 200),
        ("none", 200),
    ):
        assert client.get(url, headers={"Sec-Fetch-Site": site}).status_code == status


def test_the_own_page_may_post(client):
    del client.headers["X-Finecut"]
    try:
        own = {"Origin": "http://localhost:8500", "Sec-Fetch-Site": "same-origin"}
        assert client.post("/api/v1/search", data={"q": "red"}, headers=own).status_code == 200
        assert kind(client.post("/api/v1/search", data={"q": "red"})) == (403, "header-missing")
    finally:
        client.headers["X-Finecut"] = "1"


def test_cors_is_for_named_origins(made, connect):
    client = connect(made.index, cors_origins=["https://films.example"])
    asked = {"Origin": "https://films.example", "Sec-Fetch-Site": "cross-site"}
    answer = client.get("/api/v1/index", headers=asked)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://films.example"
    other = client.get("/api/v1/index", headers={**asked, "Origin": "https://evil.example"})
    assert other.status_code == 403 and "access-control-allow-origin" not in other.headers
    preflight = {"Access-Control-Request-Method": "POST", **asked}
    assert client.options("/api/v1/search", headers=preflight).status_code == 200


def test_bodies_are_bounded(made, connect):
    client = connect(made.index, max_body_bytes=1000)
    big = {"image": ("x.png", b"x" * 2000)}
    assert kind(client.post("/api/v1/search", files=big)) == (413, "body-too-large")

    def dribble():
        for _ in range(20):
            yield b"x" * 100

    headers = {"Content-Type": "multipart/form-data; boundary=b"}  # and no length
    answer = client.post("/api/v1/search", content=dribble(), headers=headers)
    assert kind(answer) == (413, "body-too-large")
    lying = client.post("/api/v1/search", content=b"", headers={"Content-Length": "-5"})
    assert lying.status_code in (400, 413)


def test_a_body_that_is_too_slow_is_given_up(made):
    import socket

    with serving(made.index, body_timeout_s=0.3) as base:
        host, port = base.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as line:
            line.sendall(
                b"POST /api/v1/search HTTP/1.1\r\nHost: localhost\r\nX-Finecut: 1\r\n"
                b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 500\r\n\r\n--b"
            )
            answer = b""
            while b"\r\n\r\n{" not in answer and (part := line.recv(4096)):
                answer += part
    assert answer.startswith(b"HTTP/1.1 408") and b"body-too-slow" in answer


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"token": "short"}, "5 characters, expected at least 16"),
        ({"cors_origins": ("*",)}, r"'\*' is refused"),
        ({"cors_origins": ("films.example",)}, "got 'films.example'"),
    ],
)
def test_settings_that_cannot_be_meant(tmp_path, options, said):
    with pytest.raises(UsageError, match=said):
        Settings(index_dir=tmp_path, **options)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/nowhere", (404, "not-found")),
        ("GET", "/api/v1/nowhere", (404, "not-found")),
        ("PUT", "/api/v1/search", (405, "method-not-allowed")),
        ("DELETE", "/health", (405, "method-not-allowed")),
        ("GET", "/api/v1/index/jobs/none", (404, "not-found")),
        ("DELETE", "/api/v1/index/jobs/none", (404, "not-found")),
        ("GET", "/api/v1/videos?limit=1000", (422, "invalid")),
        ("GET", "/api/v1/videos?status=odd", (422, "invalid")),
    ],
)
def test_every_error_is_a_problem_document(client, method, path, expected):
    answer = client.request(method, path)
    assert kind(answer) == expected
    assert answer.json()["instance"] == path.partition("?")[0]
