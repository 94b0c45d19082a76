"""``python -m chaos [--seed N] [--kills N] [--process NAME …]``: the kill matrix, a row a process.

``python -m chaos outages [--kind NAME …] [--seconds N …]``: Redis away, hanging, full, read-only.
``python -m chaos soak [--minutes N]``: a long run under load, and whether it takes more and more.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from chaos import matrix, outages, rigs


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line says; 0 where all that was promised was kept."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["soak"]:
        return _soak(arguments[1:])
    if arguments[:1] == ["outages"]:
        return _outages(arguments[1:])
    return _matrix(arguments)


def _soak(arguments: list[str]) -> int:
    from chaos import soak  # noqa: PLC0415  (only this one needs a browser)

    parser = argparse.ArgumentParser(prog="python -m chaos soak", description=soak.__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--every", type=float, default=60, metavar="SECONDS", help="between two looks")
    parser.add_argument("--sessions", type=int, default=soak.SESSIONS, help="browser sessions (default 3)")
    parser.add_argument("--curve", type=Path, help="file for all looks, a JSON object a line")
    chosen = parser.parse_args(arguments)
    soaked = soak.run(chosen.minutes, sessions=chosen.sessions, every_s=chosen.every, curve=chosen.curve)
    print("\n".join(soak.table(soaked)))
    return int(bool(soaked.lost or soaked.restarts))


def _outages(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos outages", description=outages.__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--seconds", nargs="+", type=float, default=list(outages.SECONDS))
    parser.add_argument("--kind", nargs="+", choices=outages.KINDS, default=list(outages.KINDS))
    chosen = parser.parse_args(arguments)
    bad: list[outages.Outage] = []

    def tell(outage: outages.Outage) -> None:
        print(_line(outages.cells(outage)), flush=True)
        if outage.ended or outage.fresh_s is None:
            bad.append(outage)

    print(_line(outages.HEAD), flush=True)
    row = outages.run(chosen.kind, chosen.seconds, chosen.seed, tell)
    print(f"{row.trades:,} trades, {row.found.candles:,} candles: {row.summary()}")
    return int(bool(bad) or not row.is_whole)


def _matrix(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=7, help="decides the trades and the moments (default 7)")
    parser.add_argument("--kills", type=int, default=20, help="of each process (default 20)")
    parser.add_argument("--process", nargs="+", choices=list(rigs.RIGS), default=list(rigs.RIGS))
    chosen = parser.parse_args(arguments)
    print(f"seed {chosen.seed}, {chosen.kills} kills each; candles of all five intervals against pandas'")
    print(_line(matrix.HEAD), flush=True)
    whole = True
    for process in chosen.process:
        began = time.monotonic()
        row = matrix.run(process, chosen.seed, chosen.kills)
        whole &= row.is_whole and row.recovered == row.kills == chosen.kills
        print(_line(row.cells()), flush=True)
        load = os.getloadavg()[0]
        print(
            f"  {process}: {row.summary()}; {time.monotonic() - began:.0f} s, load average {load:.1f}",
            file=sys.stderr,
            flush=True,
        )
    print("whole: nothing missing, nothing doubled, nothing different" if whole else "NOT WHOLE")
    return 0 if whole else 1


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return " | ".join(f"{cell:>13}" if i else f"{cell:<8}" for i, cell in enumerate(cells))


if __name__ == "__main__":
    sys.exit(main())
