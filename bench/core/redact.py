"""What may be printed, recorded or sent of a URL: never a password."""

from __future__ import annotations

import re
from urllib.parse import unquote, unquote_plus

MASK = "***"
# of a connection's query or of a driver's message: ?password=..., sslpassword=..., passwd='...'
_SETTING = re.compile(
    r"\b(\w*(?:passw(?:or)?d|pwd|passphrase|secret|token|api_?key))=([^&\s'\"]+|'[^']*')",
    re.IGNORECASE,
)
_IN_TEXT = re.compile(r"\b[A-Za-z][\w.+-]*://[^\s'\"]+")
_HOST_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:/?#\[\]]*)(:\d*)?(?=[/?#,]|$)")


def redact_url(url: str) -> str:
    """A URL as it may be shown: its user's password, and every password, token and key of its
    query, as `***`. It need not be a valid URL: where the text is damaged, too much is hidden
    rather than too little."""
    start, end = _find_password(url)
    if start < end:
        url = f"{url[:start]}{MASK}{url[end:]}"
    return _SETTING.sub(rf"\1={MASK}", url)


def redact(text: str, *urls: str) -> str:
    """A text (an error, a note, an argument) as it may be shown: the URLs in it as `redact_url`
    has them, and no password of one of `urls`, in whatever spelling."""
    for url in filter(None, urls):
        parts = [_hide_secrets(part, url) for part in text.split(url)]
        text = redact_url(url).join(parts)
    return _SETTING.sub(rf"\1={MASK}", _IN_TEXT.sub(lambda match: redact_url(match[0]), text))


def _hide_secrets(text: str, url: str) -> str:
    start, end = _find_password(url)
    secrets = {url[start:end], *(match[2] for match in _SETTING.finditer(url))} - {""}
    for spelling in {f(s) for s in secrets for f in (str, unquote, unquote_plus)}:
        text = re.sub(rf"(?<!\w){re.escape(spelling)}(?!\w)", MASK, text)
    return text


def _find_password(url: str) -> tuple[int, int]:
    """Where the user's password starts and ends in the text; nowhere is (0, 0)."""
    scheme, slashes, rest = url.partition("://")
    if not slashes:  # no URL, but what is before an @ may be a password all the same
        return (0, url.rfind("@")) if ":" in url.partition("@")[0] else (0, 0)
    if scheme.startswith("sqlite") and rest.startswith("/"):  # a file
        return 0, 0
    base = len(scheme) + len(slashes)
    user, colon, _ = rest.partition(":")
    last = rest.rfind("@")
    if last >= 0:
        start = len(user) + 1 if colon and len(user) < last else last
        return base + start, base + last
    if _HOST_AND_PORT.match(rest):
        return 0, 0
    after = rest[len(user) + 1 :]  # user:password without a host, or a port that is no number
    return base + len(user) + 1, base + len(user) + 1 + len(re.split(r"[/?#]", after)[0])
