"""Who may call: keys, the ring of known keys, roles, and the gate in front of the engine."""

from maas.access.authenticator import ANONYMOUS, Authenticator
from maas.access.gate import Gate
from maas.access.keyring import KeyEntry, Keyring
from maas.access.keys import digest, new_key
from maas.access.owner import owner_key
from maas.access.roles import Action, allows, check_allowed

__all__ = [
    "ANONYMOUS",
    "Action",
    "Authenticator",
    "Gate",
    "KeyEntry",
    "Keyring",
    "allows",
    "check_allowed",
    "digest",
    "new_key",
    "owner_key",
]
