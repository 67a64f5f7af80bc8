"""`python -m microtensor` is the `microtensor` command."""

import sys

from .commands.cli import main

sys.exit(main())
