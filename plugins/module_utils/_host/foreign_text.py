# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers and documents in text that others wrote: what int() and json let through or choke on."""

from __future__ import annotations

import json
import re
from typing import Any

# As many as the largest 64-bit number has. int() takes longer ones, until it refuses beyond 4300.
_DECIMAL = re.compile(r"[0-9]{1,20}")


def decimal(text: str | None) -> int | None:
    """Return the number that the text is in decimal digits, None for any other text.

    Digits that only Unicode knows are none: str.isdigit is true for some that int() refuses.
    """
    return int(text) if text is not None and _DECIMAL.fullmatch(text) else None


def parse_json(text: str | bytes) -> Any:
    """Return what the JSON text says.

    Raises:
        ValueError: not JSON, or nested deeper than the interpreter can follow.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
