"""From a registry's wishes to answered calls: plan, policy, manager, router, replica, batcher.

Control holds the manager, an ingress the router and its replicas, a host the loader and its
batchers. What travels between them: the plan (a file), control messages, frames.
"""
