"""Who may ask: a bearer token, or the cookie that a login with that token sets.

Browsers cannot put a header on ``<video src>`` and ``<img src>``. The page therefore logs in once
(``POST /api/v1/session`` with the token) and gets a cookie that no script can read, that no other
site can send, and that holds only an expiry time and a signature.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from http.cookies import CookieError, SimpleCookie

SESSION_S = 12 * 3600
_KEY_ROUNDS = 100_000  # about 30 ms, once for each server


def same_secret(got: str, expected: str) -> bool:
    """Whether two secrets are equal, in a time that depends on neither.

    >>> same_secret("abc", "abc"), same_secret("abd", "abc")
    (True, False)
    """
    digests = (hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in (got, expected))
    return hmac.compare_digest(*digests)


def _key_of(token: str) -> bytes:
    salt = b"finecut session cookie"
    return hashlib.pbkdf2_hmac("sha256", token.encode("utf-8", "replace"), salt, _KEY_ROUNDS)


class Gatekeeper:
    """Checks tokens and cookies. The key of the cookies is made from the token, so that replicas
    behind one address take each other's, and slowly, so that no cookie helps to guess the token.
    Another token ends all sessions."""

    def __init__(self, token: str | None, place: str) -> None:
        self._token = token
        self._key = secrets.token_bytes(32) if token is None else _key_of(token)
        # Cookies do not know ports: two servers on one machine need two names.
        self.cookie = "finecut_" + hashlib.sha256(place.encode()).hexdigest()[:8]

    @property
    def required(self) -> bool:
        return self._token is not None

    def admits(self, authorization: str | None, cookies: str | None) -> bool:
        """Whether a caller with these two headers may ask."""
        if self._token is None:
            return True
        return self.has_token(authorization) or self._has_session(cookies)

    def has_token(self, authorization: str | None) -> bool:
        """Whether ``Authorization: Bearer …`` holds the token."""
        if self._token is None:
            return True
        scheme, _, got = (authorization or "").partition(" ")
        return scheme.lower() == "bearer" and same_secret(got.strip(), self._token)

    def new_session(self, now: float | None = None) -> str:
        """The value of a new cookie: an expiry time and its signature."""
        expiry = str(int((time.time() if now is None else now) + SESSION_S))
        return f"{expiry}.{self._sign(expiry)}"

    def _sign(self, expiry: str) -> str:
        return hmac.new(self._key, expiry.encode(), hashlib.sha256).hexdigest()

    def _has_session(self, cookies: str | None) -> bool:
        try:
            morsel = SimpleCookie(cookies or "").get(self.cookie)
        except CookieError:
            return False
        expiry, _, signature = (morsel.value if morsel else "").partition(".")
        if not same_secret(signature, self._sign(expiry)):
            return False
        return int(expiry) > time.time()  # signed by us, so it is a number
