"""The composition root: the only place that names concrete classes.

`foundation.py` is what both planes use, `data_plane.py` what callers reach, `control_plane.py` what
operators reach, `gateway.py` both planes behind their listeners, `run.py` the life of a process.
"""

from gateway.app.gateway import Gateway, open_gateway
from gateway.app.run import LOOKUP_THREADS, run_gateway

__all__ = ["LOOKUP_THREADS", "Gateway", "open_gateway", "run_gateway"]
