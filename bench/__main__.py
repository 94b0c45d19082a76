"""``python -m bench [NAME…] [--json]``: run benchmarks and print their figures.

Each module here with a ``run()`` is one; without names all but the longest run, one after the other.
A row that fails says so, and the others still run.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from pathlib import Path

_FOLDER = Path(__file__).parent
_ONLY_BY_NAME = frozenset({"scaling", "soak"})
"""Minutes each: `scaling` starts three clusters, `soak` tells something only over a long time."""


def main() -> int:
    names = sorted(path.stem for path in _FOLDER.glob("*.py") if not path.stem.startswith("_"))
    names = [name for name in names if "\ndef run()" in (_FOLDER / f"{name}.py").read_text()]
    parser = argparse.ArgumentParser(prog="python -m bench", description=f"Benchmarks: {', '.join(names)}.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="which to run; all but scaling and soak, if none is given"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a benchmark, a line each")
    args = parser.parse_args()
    unknown = sorted(set(args.names) - set(names))
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)} (there are {', '.join(names)})")
    failed = False
    for name in args.names or [name for name in names if name not in _ONLY_BY_NAME]:
        try:
            figures = importlib.import_module(f"bench.{name}").run()
        except Exception as error:  # the other rows are still worth having
            print(f"{name}: failed: {error!r}", file=sys.stderr)
            failed = True
            continue
        if args.json:
            print(json.dumps({"bench": name, **figures}), flush=True)
        else:
            print(f"{name}  (load average {os.getloadavg()[0]:.1f})")
            for key, value in figures.items():
                print(f"  {key:<48} {value:>14,}" if not isinstance(value, str) else f"  {key:<48} {value:>14}")
            sys.stdout.flush()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
