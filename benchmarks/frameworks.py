"""Compare `maas` with a framework called from Flask or FastAPI by hand, same model, same machine.

Server and its processes on core 0, wrk on core 1. Needs what `http.py` needs.
"""

import sys
from os.path import abspath, dirname

HERE = dirname(abspath(__file__))  # noqa: PTH100, PTH120 - pathlib might import `http`
if sys.path[0] == HERE:  # as a script: http.py must not stand in for the standard library's
    sys.path[0] = dirname(HERE)  # noqa: PTH120

from benchmarks.comparison import main  # noqa: E402 - the path had to be repaired first
from benchmarks.contenders import COMPARISON  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(COMPARISON, sys.argv[1:]))
