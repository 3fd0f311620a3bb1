from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Wait:
    seconds: float


class Grant:
    def __init__(self, pool, index):
        self.pool = pool
        self.index = index
        self.probe_ytid = ""
        self.done = False

    @property
    def name(self):
        return self.pool.egress[self.index].name

    def release(self):
        if not self.done:
            self.done = True
            self.pool.busy -= 1

    def answered(self, reason):
        self.release()

    def blocked(self, detail):
        self.release()


class EgressPool:
    def __init__(self, egress, probe, folder):
        self.egress = egress
        self.busy = 0

    def __enter__(self):
        return self

    def __exit__(self, *a):
        pass

    def probe_due(self):
        return None

    def try_acquire(self):
        self.busy += 1
        return Grant(self, 0)
