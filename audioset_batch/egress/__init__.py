"""Egresses, the ways to the internet: budgets, pauses and probes, shared by all tasks through a folder."""

from audioset_batch.config.redact import redact, redact_proxy, redact_values
from audioset_batch.egress.pausing import DRIFT
from audioset_batch.egress.pool import EgressPool, Grant, Wait
from audioset_batch.egress.shared import Pause, read_pauses
from audioset_batch.egress.soft_ban import Verdict, strictest
from audioset_batch.egress.status import EgressStatus, read_egress_status

__all__ = [
    "DRIFT",
    "EgressPool",
    "EgressStatus",
    "Grant",
    "Pause",
    "Verdict",
    "Wait",
    "read_egress_status",
    "read_pauses",
    "redact",
    "redact_proxy",
    "redact_values",
    "strictest",
]
