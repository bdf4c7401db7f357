"""``python -m taggerd`` and the ``taggerd`` command."""

from __future__ import annotations

import sys

from taggerd.cli import main

if __name__ == "__main__":
    sys.exit(main())
