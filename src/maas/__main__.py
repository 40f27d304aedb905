"""`python -m maas` is the same program as `maas`."""

from maas.cli import main

if __name__ == "__main__":
    main()
