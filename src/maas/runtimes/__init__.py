"""One file per framework. Each is a `maas.core.ports.Runtime`, found through entry points."""
