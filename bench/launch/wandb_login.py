"""What Weights & Biases will do with a run, found out without asking a server, a person, or the
library, which takes a second to import.

The order is W&B's own: environment variables, then its settings files (`wandb login --host`,
`wandb offline`), then its defaults; a key is looked for in WANDB_API_KEY, an identity token, the
netrc file and the settings.
"""

from __future__ import annotations

import configparser
import netrc
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from bench.core.errors import brief
from bench.core.redact import redact_url

CLOUD = "https://api.wandb.ai"
Mode = Literal["online", "offline", "disabled"]
MODES: dict[str, Mode] = {
    "online": "online",
    "run": "online",
    "shared": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}


@dataclass(frozen=True)
class Tracking:
    """mode: what a run is started in. server: its address, without passwords. reason: why, in few
    words. problem: True where that is not what was asked for."""

    mode: Mode
    server: str
    reason: str
    problem: bool = False

    def __str__(self) -> str:
        """`online at https://api.wandb.ai (key of WANDB_API_KEY)`."""
        where = f" at {self.server}" if self.mode == "online" else ""
        return f"{self.mode}{where} ({self.reason})"


def find_tracking() -> Tracking:
    """What happens to a stage's run. A run is online only where a key is at hand, because W&B asks
    for one in the terminal, and waits."""
    settings = _read_settings()
    url = os.environ.get("WANDB_BASE_URL") or settings.get("base_url") or CLOUD
    asked = os.environ.get("WANDB_MODE") or settings.get("mode") or ""
    server, host = redact_url(url.rstrip("/")), _read_host(url)
    mode = MODES.get(asked)
    setting = "WANDB_MODE" if os.environ.get("WANDB_MODE") else "the mode of W&B's settings"
    if asked and mode is None:
        reason = f"{setting} is none of online, offline and disabled: {brief(asked)}"
        return Tracking("offline", server, reason, problem=True)
    if mode in ("offline", "disabled"):
        return Tracking(mode, server, setting)
    if not host:
        reason = f"WANDB_BASE_URL is no web address: {brief(server)}"
        return Tracking("offline", server, reason, problem=True)
    source = _find_key(host, settings)
    if source:
        return Tracking("online", server, f"key of {source}")
    reason = f"no API key for {server}; to log in: wandb login"
    if server != CLOUD:
        reason += f" --host {server}"
    return Tracking("offline", server, reason, problem=mode == "online")


def _read_host(url: str) -> str:
    """`name` or `name:port` of a web address; "" where it is none."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number
        return ""
    return parts.netloc.rpartition("@")[2] if valid else ""


def _find_key(host: str, settings: dict[str, str]) -> str:
    """Where the API key of the server is; "" where there is none."""
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        if os.environ.get(name):
            return name
    names = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]
    file = next((f for name in names if (f := Path(os.path.expanduser(name))).exists()), None)
    if file:
        try:
            entries = netrc.netrc(file)
            found = entries.authenticators(host) or entries.authenticators(host.partition(":")[0])
        except (OSError, netrc.NetrcParseError, UnicodeError):
            found = None
        if found and found[2]:
            return str(file)
    return "W&B's settings" if settings.get("api_key") else ""


def _read_settings() -> dict[str, str]:
    """W&B's settings of this folder over those of the user; damaged files say nothing."""
    user = os.path.expanduser(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb")
    here = os.path.expanduser(os.environ.get("WANDB_DIR") or ".")
    settings: dict[str, str] = {}
    for file in (Path(user, "settings"), Path(here, "wandb", "settings")):
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(file)
        except (configparser.Error, OSError, UnicodeError):
            continue
        if parser.has_section("default"):
            settings |= dict(parser.items("default"))
    return settings
