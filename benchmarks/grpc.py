"""Compare `maas` with Triton over gRPC, and with 1 MB tensors over binary REST, on one machine.

Needs what `http.py` needs, and h2load (Debian: `apt-get install nghttp2-client`).
"""

import sys
from os.path import abspath, dirname

HERE = dirname(abspath(__file__))  # noqa: PTH100, PTH120 - pathlib might import `http`
if sys.path[0] == HERE:  # as a script: this file must not stand in for the package grpc
    sys.path[0] = dirname(HERE)  # noqa: PTH120

from benchmarks.comparison import main  # noqa: E402 - the path had to be repaired first
from benchmarks.tensors import COMPARISON  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(COMPARISON, sys.argv[1:]))
