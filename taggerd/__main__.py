"""``python -m taggerd`` and the ``taggerd`` command."""

from __future__ import annotations

import gc
import sys

# Until the command is imported: what imports make stays, and looking through it for garbage again
# and again takes a tenth of a start.
gc.disable()

from taggerd.cli import main  # noqa: E402 - see above

if __name__ == "__main__":
    sys.exit(main())
