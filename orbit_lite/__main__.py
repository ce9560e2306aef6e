"""python -m orbit_lite"""

import sys

from orbit_lite.cli.main import main

sys.exit(main())
