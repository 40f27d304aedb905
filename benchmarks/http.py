"""Compare `maas` with the servers people use today, all serving the same ONNX file.

Needs Python 3.11, pip, wrk and taskset (Debian: `apt-get install wrk util-linux`), and two cores.
"""  # noqa: A005 - it is run as a script, and repairs the import path first

import sys
from os.path import abspath, dirname

HERE = dirname(abspath(__file__))  # noqa: PTH100, PTH120 - pathlib might import `http`
if sys.path[0] == HERE:  # as a script: this file must not stand in for the standard library's http
    sys.path[0] = dirname(HERE)  # noqa: PTH120

from benchmarks.run import main  # noqa: E402 - the path had to be repaired first

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
