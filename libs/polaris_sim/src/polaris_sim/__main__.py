"""``python -m polaris_sim``: the simulators as one process."""

import sys

from polaris_sim.runner import main

if __name__ == "__main__":
    sys.exit(main())
