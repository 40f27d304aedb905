"""Folders of models that are watched, as Triton and TensorFlow Serving watch theirs.

    sources ─▶ look (listing, stamps) ─▶ next_step ─▶ import · promote · label · retire ─▶ ledger
       ▲                                                    │
       └───────────────────── poll ◀────────────────────────┘

A folder is read as an upload is: nothing in it is trusted but that the operator chose it.
"""

from __future__ import annotations
