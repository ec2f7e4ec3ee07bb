"""Workers that die, a scheduler that is restarted, a disk that is full: every point is in the table exactly once."""

from __future__ import annotations

import functools
import glob
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from sweep_fake import FAKE, lesson

pytest.importorskip("distributed", reason="dask.distributed is not installed (the extra `scale` brings it)")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills processes by signal")

import r3lab  # noqa: E402
from r3lab.core.errors import R3labError  # noqa: E402
from r3lab.run.point import PlaceError, Workers  # noqa: E402
from r3lab.run.sweep import Store, plan, sweep, table  # noqa: E402

DASK = [  # the first commands of the page on sweeps: a scheduler and a worker on loopback
    shlex.split(line)
    for line in (Path(r3lab.__file__).parent / "run" / "sweep.md").read_text("utf-8").splitlines()
    if line.startswith("dask ")
][:2]
T = TypeVar("T")
PATIENT = 300  # seconds; the machine may be busy


def wait_for(what: Callable[[], T], seconds: float = PATIENT) -> T:
    """The first true value."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return found


class Cluster:
    """A scheduler and workers as processes, each worker with a folder of its own, by the commands of the page."""

    def __init__(self, root: Path, options: tuple[str, ...] = (), protocol: str = "tcp") -> None:
        self.root, self.options = root, options
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = one.getsockname()[1]
        self.address = f"{protocol}://127.0.0.1:{self.port}"
        self.processes: list[subprocess.Popen[str]] = []
        self.start_scheduler()

    def _start(self, words: list[str], limit: int | None = None) -> subprocess.Popen[str]:
        def full() -> None:  # where nothing can be mounted: no file may grow beyond
            import resource

            resource.setrlimit(resource.RLIMIT_FSIZE, (limit or 0, limit or 0))

        command = [sys.executable, "-m", *words, *self.options]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # the fake is a module of the tests
        log = open(self.root / f"{len(self.processes)}-{words[1]}.log", "w")  # noqa: SIM115
        process = subprocess.Popen(
            command, stdout=log, stderr=log, text=True, cwd=self.root, preexec_fn=full if limit else None, env=env
        )
        log.close()
        self.processes.append(process)
        return process

    def start_scheduler(self) -> None:
        """Also again, at the same address."""
        protocol = ["--protocol", self.address.partition(":")[0]]
        self.scheduler = self._start([*DASK[0], "--port", str(self.port), *protocol])

    def worker(self, folder: Path, limit: int | None = None) -> subprocess.Popen[str]:
        """Start one."""
        folder.mkdir(exist_ok=True)
        given = {"tcp://127.0.0.1:8786": self.address, "/scratch": str(folder)}
        assert given.keys() <= set(DASK[1])
        return self._start([given.get(word, word) for word in DASK[1]], limit=limit)

    def ready(self) -> Cluster:
        """Wait until all of them say that they are there."""
        said = ("Scheduler at:", "Registered to:")
        wait_for(lambda: all(any(one in path.read_text() for one in said) for path in self.root.glob("*-*.log")))
        return self

    def stop(self) -> None:
        """Kill all, the scheduler last."""
        for process in reversed(self.processes):
            process.kill()
            process.wait()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def words(self) -> str:
        """All that they printed."""
        return "\n".join(f"{path.name}:\n{path.read_text()[-1500:]}" for path in sorted(self.root.glob("*.log")))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler and two workers."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as found:
        for name in "ab":
            found.worker(found.root / name)
        yield found.ready()


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[tuple[Path, int | None]]:
    """A folder with room for a few kilobytes; where it cannot be mounted, the largest size of a file for its worker."""
    folder = tmp_path / "full"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    mounted = shutil.which("mount") is not None and subprocess.run(mount, capture_output=True).returncode == 0
    yield folder, None if mounted else 65_536
    if mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_every_point_is_there_once_after_a_killed_worker_a_new_scheduler_and_a_full_disk(
    tmp_path: Path, full_disk: tuple[Path, int | None]
) -> None:
    (tmp_path / "logs").mkdir()
    folders = [tmp_path / "one", tmp_path / "two"]
    planned = plan(lesson(tmp_path / "a.ipynb"), [{"seed": seed, "pause": 0.4} for seed in range(10)])
    lines: list[str] = []

    with Cluster(tmp_path / "logs") as cluster, Store(tmp_path / "out") as store:
        workers = [cluster.worker(folder) for folder in folders]
        full = cluster.worker(full_disk[0], full_disk[1])
        cluster.ready()

        def kill() -> None:
            log = str(folders[0] / "**" / "r3lab-*/runs/*/*/kernel.log")
            wait_for(lambda: glob.glob(log, recursive=True))  # in the middle of a point; rglob trips over lost folders
            workers[0].send_signal(signal.SIGKILL)

        def say(line: str) -> None:
            lines.append(line)
            if sum(" ok " in one for one in lines) >= 5 and workers[0].poll() is not None:
                cluster.scheduler.send_signal(signal.SIGKILL)

        threading.Thread(target=kill, daemon=True).start()
        first = sweep(planned, store, Workers(cluster.address, task=FAKE), retries=0, say=say)
        found = "\n".join([*lines, cluster.words()])
        assert first.failed == () and 5 <= first.done < 10 and "the scheduler" in first.trouble, (first, found)
        wait_for(lambda: full.poll() is not None)  # a worker that cannot write is retired
        cluster.stop()

        cluster.start_scheduler()
        cluster.worker(folders[1])
        place = Workers(cluster.address, task=FAKE)
        summary = sweep(planned, store, place, retries=0, say=lines.append)  # the same command goes on
        rows = table(planned, store).rows
        again = sweep(planned, store, place, say=lines.append)  # nothing to do: does not even connect
    words = "\n".join([*lines, cluster.words()])
    assert (summary.done, summary.skipped, summary.failed, summary.trouble) == (10, first.done, (), ""), words
    assert (again.done, again.skipped) == (10, 10)
    assert [row["key"] for row in rows] == list(planned)
    assert [(row["seed"], row["status"], row["score"]) for row in rows] == [(i, "ok", 10 * i) for i in range(10)], words
    assert workers[0].wait() == -signal.SIGKILL
    refused = [line for line in lines if "cannot do it" in line]
    assert len(refused) == 1 and "cannot write to" in refused[0], lines  # said once, whatever it had been given
    assert {row["place"].rpartition(" ")[0] for row in rows} == {socket.gethostname()}
    assert not list(folders[1].rglob("r3lab-*"))


def test_leaving_stops_what_runs_on_the_workers_and_the_rest_stays_open(tmp_path: Path, cluster: Cluster) -> None:
    planned = plan(lesson(tmp_path / "a.ipynb"), [{"seed": 1, "pause": 600.0}, {"seed": 2}, {"seed": 3}])

    def say(line: str) -> None:
        if line.startswith("[2/3]"):
            raise KeyboardInterrupt  # as Ctrl-C does

    with Store(tmp_path / "out") as store:
        summary = sweep(planned, store, Workers(cluster.address, task=FAKE), say=say)
        rows = table(planned, store).rows
    assert (summary.stopped, summary.done, summary.failed) == (True, 2, ())
    assert [row["status"] for row in rows] == ["not run", "ok", "ok"]
    work = str(cluster.root / "**" / "r3lab-*")
    wait_for(lambda: not glob.glob(work, recursive=True), 60)  # ended and cleaned up, long before 600 s


def test_all_listen_on_loopback_only(cluster: Cluster) -> None:
    import psutil

    def heard(process: subprocess.Popen[str]) -> list[str]:
        found = psutil.Process(process.pid).net_connections(kind="inet")
        return [one.laddr.ip for one in found if one.status == psutil.CONN_LISTEN]

    for process in cluster.processes:
        addresses = wait_for(functools.partial(heard, process))
        assert set(addresses) == {"127.0.0.1"}, addresses


@pytest.mark.notebook
def test_a_real_notebook_comes_back_from_a_worker_by_value(tmp_path: Path, cluster: Cluster) -> None:
    source = "import r3lab\nr3lab.record(score=seed * 7, ok=True)\nopen('left.txt', 'w').close()"
    planned = plan(lesson(tmp_path / "a.ipynb", source), [{"seed": 6}])
    with Store(tmp_path / "out") as store:
        summary = sweep(planned, store, Workers(cluster.address, threads=1), say=print)
        (row,) = table(planned, store).rows
        folder = store.point(row["key"])
    assert summary.done == 1
    assert (row["status"], row["score"], row["ok"], row["attempts"]) == ("ok", 42, True, 1)
    assert {path.name for path in folder.iterdir()} >= {"a.ipynb", "a.html", "result.json", "attempt-1.log"}
    assert not list(cluster.root.rglob("r3lab-*"))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_behind_tls_only_those_with_the_certificate_come_in(tmp_path: Path) -> None:
    key, cert = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    ask = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days"]
    subprocess.run([*ask, "2", "-subj", "/CN=r3lab", "-keyout", key, "-out", cert], check=True, capture_output=True)
    options = ("--tls-ca-file", cert, "--tls-cert", cert, "--tls-key", key)
    planned = plan(lesson(tmp_path / "a.ipynb"), [{"seed": 4}])
    with Cluster(tmp_path, options, "tls") as cluster, Store(tmp_path / "out") as store:
        cluster.worker(tmp_path / "w")
        cluster.ready()
        summary = sweep(planned, store, Workers(cluster.address, (cert, cert, key), task=FAKE), say=print)
        assert summary.done == 1, cluster.words()
        with pytest.raises(PlaceError, match="No scheduler answers"):
            Workers(f"tcp://127.0.0.1:{cluster.port}", task=FAKE, connect=2).__enter__()


def test_what_is_no_scheduler_is_refused(tmp_path: Path) -> None:
    with pytest.raises(R3labError, match="wanted tcp://HOST:PORT"):
        Workers("localhost:8786")
    with pytest.raises(R3labError, match="No file"):
        Workers("tls://localhost:8786", tuple(str(tmp_path / name) for name in ("ca", "cert", "key")))
