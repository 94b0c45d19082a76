"""``python -m pipeline``: see ``--help``."""

import sys

from pipeline import python_version

python_version.require()

from pipeline.cli import main  # noqa: E402  (not before the version is known to fit)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
