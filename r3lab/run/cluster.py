"""A scheduler and workers for sweeps, on loopback unless told otherwise, one notebook at a time each.

dask's own commands listen on every interface, give a worker one thread a core, and a worker ends with its scheduler.
Here both listen where `--host` says (default: 127.0.0.1), a worker runs one point at a time in a folder of its own, and
waits for the scheduler to come back. Any other way to start dask workers will do as well, with one thread each.
Simplified: no dashboard, no nanny; whoever wants a dead worker back starts it again.

    python -m r3lab.run.cluster scheduler
    python -m r3lab.run.cluster worker tcp://127.0.0.1:8786 --folder /scratch/points
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.errors import R3labError, shown
from .dask import security

LOOPBACK, PORT, PAUSE = "127.0.0.1", 8786, 2.0  # seconds before a worker connects again


def main(argv: Sequence[str] | None = None) -> int:
    """Run a scheduler or a worker until Ctrl-C.

    Parameters
    ----------
    argv
        Arguments behind `python -m r3lab.run.cluster`.

    Returns
    -------
    int
        0; 2 where something given cannot be used.
    """
    args = build_parser().parse_args(argv)
    try:
        tls = security(args.tls_ca, args.tls_cert, args.tls_key)
        import distributed  # noqa: F401, it sets levels of its own when it is imported

        logging.getLogger("distributed").setLevel(logging.ERROR)
        asyncio.run(scheduler(args, tls) if args.role == "scheduler" else worker(args, tls))
    except (R3labError, OSError, RuntimeError) as error:  # RuntimeError: dask's "failed to start", with the cause
        print(f"r3lab sweep: error: {error.__cause__ or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        pass
    return 0


def build_parser() -> argparse.ArgumentParser:
    """All options."""
    parser = argparse.ArgumentParser(prog="python -m r3lab.run.cluster", description=(__doc__ or "").split("\n")[0])
    roles = parser.add_subparsers(dest="role", required=True)
    for role in ("scheduler", "worker"):
        added = roles.add_parser(role)
        added.add_argument("--host", default=LOOPBACK, help=f"address to listen on (default: {LOOPBACK})")
        for name in ("ca", "cert", "key"):
            added.add_argument(f"--tls-{name}", metavar="FILE", help="PEM, all three or none")
        if role == "scheduler":
            added.add_argument("--port", type=int, default=PORT, help=f"default: {PORT}")
        else:
            added.add_argument("address", help="of the scheduler: tcp://HOST:PORT or tls://HOST:PORT")
            added.add_argument("--folder", default=".", help="work folders are made in it (default: here)")
    return parser


async def scheduler(args: argparse.Namespace, tls: Any) -> None:
    """Serve until cancelled."""
    from distributed import Scheduler

    common = {"security": tls, "dashboard": False, "dashboard_address": f"{LOOPBACK}:0"}
    async with Scheduler(host=args.host, port=args.port, protocol="tls" if tls else "tcp", **common) as served:
        print(f"scheduler at {served.address}", flush=True)
        await served.finished()


async def worker(args: argparse.Namespace, tls: Any) -> None:
    """Work until cancelled; whenever the scheduler is gone, wait for it."""
    from distributed import Worker

    folder = Path(args.folder).resolve()
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise R3labError(f"Cannot write to the folder {shown(str(folder))}. Give another by --folder.")
    common = {"security": tls, "dashboard": False, "dashboard_address": f"{LOOPBACK}:0", "memory_limit": 0}
    worked = False
    while True:
        try:
            async with Worker(args.address, host=args.host, nthreads=1, local_directory=str(folder), **common) as one:
                print(f"worker at {one.address} for {args.address}", flush=True)
                worked = True
                await one.finished()
        except (OSError, RuntimeError) as error:
            if not worked:  # a wrong setting will not mend itself; what worked once may work again
                raise
            print(f"worker: {error.__cause__ or error}", file=sys.stderr, flush=True)
        await asyncio.sleep(PAUSE)


if __name__ == "__main__":
    raise SystemExit(main())
