# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The error every refusal is told with: what was read, what was wanted, what to do."""

from __future__ import annotations


class GpufleetError(Exception):
    """A refusal or failure that an operator can act on.

    Args:
        code: snake_case name of the failure, stable across releases.
        read: what was found, in words or figures with units.
        want: what was needed instead.
        remedy: the next thing to do, as an instruction.
    """

    def __init__(self, code: str, *, read: str, want: str, remedy: str) -> None:
        super().__init__(f"{code}: read {read}; want {want}; remedy: {remedy}")
        self.code = code
        self.read = read
        self.want = want
        self.remedy = remedy

    def as_dict(self) -> dict[str, str]:
        """Return code, read, want and remedy as plain data for a module's result."""
        return {"code": self.code, "read": self.read, "want": self.want, "remedy": self.remedy}
