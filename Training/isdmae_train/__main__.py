"""`python -m isdmae_train` is `isdmae-train`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
