"""A load generator for a running server, honest about its own limits.

`maas bench` ─▶ bodies ─▶ `run` ─plan▶ a `worker` process per core ─▶ `Generator`: connections
                                ◀tally─┘

Closed loop: every connection sends its next request when the last is answered. Open loop: requests
are due at times that do not depend on the answers, and a latency counts from the time due, so that
a server that stalls is charged for everything that had to wait ("coordinated omission").
"""
