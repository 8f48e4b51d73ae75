# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The methods of the usual peer-to-peer benchmarks, for trying them on the simulated driver.

They measure what the tools measure and look where the tools look, on smaller buffers; nothing of
the tools' own code or output is in them. Each is a program, because a tool that hangs or exits
takes its process with it. What it prints is one JSON object a line: ``{"figure": name, "value":
number}``, ``{"waived": test}`` or ``{"error": words, "number": CUresult}``.
"""
