"""The composition root: the only place that names concrete classes.

`foundation.py` is what both planes use, `data_plane.py` what callers reach, `control_plane.py` what
operators reach, `gateway.py` both planes behind their listeners, `run.py` the life of a process,
`system.py` what it takes from the system.
"""

from gateway.app.gateway import Gateway, open_gateway
from gateway.app.run import run_gateway
from gateway.app.system import LOOKUP_THREADS

__all__ = ["LOOKUP_THREADS", "Gateway", "open_gateway", "run_gateway"]
