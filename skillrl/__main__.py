"""Runs the `skillrl` command as ``python -m skillrl``."""

import sys

from skillrl.cli.main import main

sys.exit(main())
