"""Compare `maas` with the engine it uses, and with llama.cpp, on a language model of 0.4 B.

Needs Python 3.11, pip, taskset (Debian: `apt-get install util-linux`), two cores, 3 GB of disk.
"""

import sys
from os.path import abspath, dirname

HERE = dirname(abspath(__file__))  # noqa: PTH100, PTH120 - pathlib might import `http`
if sys.path[0] == HERE:  # as a script: http.py must not stand in for the standard library's http
    sys.path[0] = dirname(HERE)  # noqa: PTH120

from benchmarks.llm_run import main  # noqa: E402 - the path had to be repaired first

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
