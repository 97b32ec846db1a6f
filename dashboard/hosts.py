"""By which names the dashboard may be asked for, and that it asks nobody itself.

A page of another site can let its own name point to this machine (DNS rebinding); the browser then
takes the dashboard for a part of that site. Such a request names the other site as its host, so a
page is only shown under an address, this machine's name, or a name that was allowed.
"""

from __future__ import annotations

import ipaddress
import os
import socket

import streamlit as st
from streamlit import net_util

ALLOWED = "BENCH_DASHBOARD_HOSTS"  # further names, separated by commas


def read_host() -> str:
    """The Host header of the browser's connection, "" where there is none."""
    return str(st.context.headers.get("Host") or "")


def host_name(host: str) -> str:
    """The name or address of a Host header, without its port, in lower case."""
    if host.startswith("["):  # IPv6
        return host[1:].partition("]")[0].lower()
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).rstrip(".").lower()


def is_allowed(host: str) -> bool:
    """Whether a page may be shown to who asked for this host. An address needs no name, so that
    nobody can have pointed one here; a request without a host is no browser's."""
    name = host_name(host)
    try:
        ipaddress.ip_address(name)
    except ValueError:
        machine = socket.gethostname().lower()
        own = {"", "localhost", machine, machine.partition(".")[0], f"{machine}.local"}
        more = {each.strip().lower() for each in os.environ.get(ALLOWED, "").split(",")}
        return name in own | more
    return True


def ask_nobody() -> None:
    """Keep Streamlit from asking a web service for this machine's public address, which it does
    when it listens on all addresses and when a page of another site connects."""
    net_util.get_external_ip = lambda: None
