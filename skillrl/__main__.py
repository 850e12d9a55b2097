"""``python -m skillrl`` is the `skillrl` command."""

import sys

from skillrl.cli.main import main

sys.exit(main())
