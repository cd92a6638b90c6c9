"""`equidrift report`: one page for whatever the commands have written.

Nothing here imports torch or a host; molecules are drawn by RDKit through the registry,
figures by matplotlib when they are asked for.
"""

from __future__ import annotations

from equidrift.report.write import write_report

__all__ = ["write_report"]
