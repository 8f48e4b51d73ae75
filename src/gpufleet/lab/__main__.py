# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m gpufleet.lab`: the lab's commands by themselves."""

from __future__ import annotations

import sys

from .cli import main

sys.exit(main())
