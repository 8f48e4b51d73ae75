# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports: the last one again if it can be had, never one that is promised."""

from __future__ import annotations

import socket

from gpufleet.lab.ports import LOOPBACK, choose_port, is_free


def test_the_preferred_port_is_kept_while_it_is_free() -> None:
    port = choose_port()
    assert choose_port(port) == port


def test_a_port_that_somebody_listens_on_is_not_chosen() -> None:
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        port = other.getsockname()[1]
        assert not is_free(port)
        assert choose_port(port) != port


def test_a_promised_port_is_not_chosen() -> None:
    port = choose_port()
    assert choose_port(port, taken=[port]) != port
