"""Starts the engine and the control plane, keeps both running, and ends both.

Data flow: settings -> checks (`checks`, `lock`) -> one `Part` for each process (`part`, `child`, `restart`) ->
`Supervisor`, which the command line runs. Nothing here touches media or the database.
"""

from tallylight.supervisor.supervisor import Supervisor

__all__ = ["Supervisor"]
