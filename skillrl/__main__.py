"""``python -m skillrl`` is the `skillrl` command."""

import sys

from skillrl.cli import main

sys.exit(main())
