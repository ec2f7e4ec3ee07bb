"""Execute a notebook without a screen, and know for certain whether it finished.

A run is a folder, `runs/<notebook>/<key>/`, with the executed notebook, an HTML page of it and `result.json`.
The key is a hash of the notebook's cells, its parameters and the version of r3lab, so the same run has the
same folder. papermill drives and saves; `result.json` is written last and in one step, and it alone says how the run
ended, for papermill calls every cell "completed" after a kernel was killed or a cell timed out.

The cell tagged `parameters` holds one literal a line with a comment. A value given for another name, or of another type
than the default, is an error here, before anything runs; papermill only logs the first and does not see the second.

Simplified: parameters are literals only (numbers, text, booleans, None, lists, tuples, dicts with text keys), and what
is inside a list or dict is not compared with the default's. One notebook at a time, on this machine, with the Python
that runs r3lab; two runs with the same key at the same time overwrite each other. The limit of time is held by the
cells; a kernel slow to start may overrun it.

    given = read_values(["samples=8"], parameters_of(read_notebook("notebooks/01_look_again.ipynb")))
    result = run_notebook("notebooks/01_look_again.ipynb", given, quick=True)
    print(result.status, result.page)
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import logging
import os
import re
import socket
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from typing import Any

import nbformat
import psutil
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, NotebookExecutionManager
from papermill.execute import prepare_notebook_metadata
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from papermill.translators import PythonTranslator, papermill_translators

from .. import __version__
from ..core.errors import R3labError, nearest, shown
from ..core.files import write_whole
from .page import page_of
from .record import Value, recorded

PATTERN = "[0-9][0-9]_*.ipynb"  # of a lesson
INJECTED = "injected-parameters"  # papermill's tag of the cell that it adds
KERNEL = "r3lab"  # the kernel for which papermill writes parameters by `_Literals`
START_LIMIT = 120  # seconds a kernel may take to start
LEAST = 0.01  # seconds
LOOPBACK = 3.0  # seconds in which this machine must reach itself
LOG, RESULT = "kernel.log", "result.json"  # beside the executed notebook
logging.getLogger("papermill").addHandler(logging.NullHandler())  # the caller reports what went wrong


# -- what a notebook declares, and what a caller may put in its place ------------------------------------------------


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return list(cell.metadata.get("tags", []))


def read_notebook(path: str | Path) -> NotebookNode:
    """Read a Python notebook.

    Parameters
    ----------
    path
        An .ipynb file of any format version; it is brought to the newest 4.x, where every cell has an id.

    Raises
    ------
    R3labError
        No such file, not a notebook, or not a Python one.
    """
    name = shown(str(path))
    try:
        nb = nbformat.v4.upgrade(nbformat.reads(Path(path).read_text("utf-8"), as_version=4))
        nbformat.validate(nb)
    except OSError as error:
        raise R3labError(f"Cannot read the notebook {name}: {error.strerror}. Check the path.") from None
    except Exception as error:
        raise R3labError(f"{name} is not a notebook ({type(error).__name__}). Give an .ipynb file.") from None
    language = nb.metadata.get("kernelspec", {}).get("language", "python")
    if language != "python":
        raise R3labError(f"{name} is written in {shown(language)}. r3lab runs Python notebooks only.")
    return nb


def parameters_of(nb: NotebookNode) -> dict[str, Any]:
    """What the first cell tagged `parameters` declares: name to default, in its order; empty where no cell has the tag.

    Raises
    ------
    R3labError
        An assignment in that cell is not a name and a literal; it names the line.
    """
    source = next((cell.source for cell in nb.cells if "parameters" in tags(cell)), "")
    try:
        lines = ast.parse(source).body
    except SyntaxError as error:
        raise R3labError(f"Line {error.lineno} of the parameters cell is not Python: {error.msg}.") from None
    found = {}
    for line in lines:
        try:
            match line:
                case ast.Expr() | ast.Import() | ast.ImportFrom():  # a docstring, say
                    continue
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=value)
                    | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
                ):
                    found[name] = ast.literal_eval(value)
                case _:
                    raise ValueError
        except ValueError:
            told = f"Line {line.lineno} of the parameters cell is {shown(ast.unparse(line))}."
            raise R3labError(f"{told} It must be `name = literal`; compute in a later cell.") from None
    return found


def known_name(name: str, defaults: Mapping[str, Any]) -> None:
    """Raise an `R3labError` with the nearest name if the notebook has no such parameter."""
    if name not in defaults:
        known = f"It has {', '.join(defaults)}." if defaults else "It has no cell tagged `parameters`."
        raise R3labError(f"The notebook has no parameter {shown(name)}.{nearest(name, defaults)} {known}")


def check_parameters(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Hold what is given against what the notebook declares.

    Parameters
    ----------
    given
        Name to value.
    defaults
        From `parameters_of`. Where a default is None, any type is accepted.

    Returns
    -------
    dict
        `given` in the types of the defaults: an int became a float, a list a tuple, where the default is one.

    Raises
    ------
    R3labError
        Unknown name, another type, or a value that JSON cannot hold (nan, a set, an object).
    """
    checked: dict[str, Any] = {}
    for name, value in given.items():
        known_name(name, defaults)
        wanted, got = type(defaults[name]), type(value)
        if (wanted, got) in ((float, int), (list, tuple), (tuple, list)):
            value = wanted(value)
        elif defaults[name] is not None and wanted is not got:
            raise R3labError(
                f"Parameter {name!r} got {shown(value)} ({got.__name__}), wanted {wanted.__name__}, "
                f"like its default {shown(defaults[name])}."
            )
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise R3labError(f"Parameter {name!r} got {shown(value)}, not fit for JSON: {error}.") from None
        checked[name] = value
    return checked


def read_value(name: str, text: str, defaults: Mapping[str, Any]) -> Any:
    """A value that was written as text, checked: the text itself where the default is one, else a Python literal.

    `true`, `false` and `null` are read too; `defaults` are those of `parameters_of`.
    """
    known_name(name, defaults)
    value: Any = text
    if not isinstance(defaults[name], str):
        with contextlib.suppress(SyntaxError, ValueError):
            value = ast.literal_eval({"true": "True", "false": "False", "null": "None"}.get(text, text))
    return check_parameters({name: value}, defaults)[name]


def split_pair(text: str, wanted: str = "NAME=VALUE, as in -p seed=3") -> tuple[str, str]:
    """Name and text of one `-p NAME=VALUE`; an `R3labError` where it has no name, or no `=`."""
    name, mark, value = text.partition("=")
    if not mark or not name.strip():
        raise R3labError(f"-p got {shown(text)}; wanted {wanted}.")
    return name.strip(), value


def read_values(texts: Sequence[str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Read what was given as `-p NAME=VALUE`, one value for each name; the last one counts.

    Raises
    ------
    R3labError
        No `NAME=VALUE`, a name that the notebook does not have, a value of another type.
    """
    return {name: read_value(name, value, defaults) for name, value in map(split_pair, texts)}


def given_values(
    given: Mapping[str, Any], defaults: Mapping[str, Any], quick: bool | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is given, checked, with `quick` where the notebook has it; and all parameters, as JSON will have them."""
    size = {"quick": quick} if quick is not None and "quick" in defaults else {}
    values = check_parameters({**defaults, **size, **given}, defaults)
    return {name: values[name] for name in {**given, **size}}, json.loads(json.dumps(values))


def run_key(nb: NotebookNode, parameters: dict[str, Any]) -> str:
    """12 hex digits over the cells (not their outputs), the parameters and the version of r3lab."""
    cells = [(cell.cell_type, cell.source, tags(cell)) for cell in nb.cells]
    text = json.dumps([cells, parameters, __version__], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


# -- how a run ended -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """How a run ended: what `result.json` holds, and the folder it lies in."""

    notebook: str  # file name
    status: str  # ok, failed, died, timeout or interrupted
    parameters: dict[str, Any]  # the notebook's defaults, overridden by what was given
    version: str  # of r3lab
    started: str  # ISO 8601, UTC
    seconds: float
    cells: list[dict[str, Any]]  # code cells that started: cell (from 1), title, seconds or None
    error: dict[str, Any] | None  # message; and cell, source where one cell is to blame
    folder: Path = field(default=Path("."), compare=False)
    recorded: dict[str, Value] = field(default_factory=dict)  # what the notebook handed over by `record`
    memory: int = 0  # bytes that the kernel held at its peak

    @property
    def page(self) -> Path | None:
        """The HTML page, or None where none could be made."""
        page = self.folder / f"{Path(self.notebook).stem}.html"
        return page if page.is_file() else None

    def text(self) -> bytes:
        """What `result.json` holds."""
        record = {name: value for name, value in asdict(self).items() if name != "folder"}
        return (json.dumps(record, indent=1) + "\n").encode("utf-8")

    @classmethod
    def load(cls, folder: Path) -> Result | None:
        """The result in `folder`; None where no run has ended there."""
        try:
            return cls(**json.loads((folder / RESULT).read_text("utf-8")), folder=folder)
        except (OSError, ValueError, TypeError):
            return None

    def describe(self) -> str:
        """One line where all went well; else what went wrong, and the source of the cell to blame."""
        if self.error is None:
            return f"{self.notebook}: {self.status} in {self.seconds:.1f} s: {self.page}"
        lines = [f"{self.notebook}: {self.status} after {self.seconds:.1f} s: {self.error['message']}"]
        lines += [f"    | {line}" for line in self.error.get("source", "").splitlines()]
        return "\n".join([*lines, f"    kept in {self.folder}"])


# -- papermill, with our kernel, limits and log ----------------------------------------------------------------------


class _Literals(PythonTranslator):
    """papermill's way to write parameters, exact: a tuple, any text."""

    @classmethod
    def translate(cls, val: Any) -> str:
        return repr(val)


papermill_translators.register(KERNEL, _Literals)


class ThisPython(KernelSpecManager):
    """Every kernel is the interpreter that runs r3lab, with this r3lab, whatever is installed on the machine."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        env = {"PLOTLY_RENDERER": "plotly_mimetype+notebook"}  # the default leaves nothing in a page
        root = Path(__file__).resolve().parents[2]
        if root not in (Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")):  # a checkout
            env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
        return KernelSpec(resource_dir="", **(get_kernel_dict() | {"env": env}))


class _Client(PapermillNotebookClient):
    """papermill's, with an end to a cell that would not hear a polite word."""

    def papermill_execute_cells(self) -> None:
        try:
            super().papermill_execute_cells()
        except (CellTimeoutError, KeyboardInterrupt):
            self.shutdown_kernel = "immediate"
            raise


class _Engine(Engine):
    """papermill's, for an `Execution`."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: NotebookExecutionManager, kernel_name: str, run: Execution, **_: Any
    ) -> None:
        manager = AsyncKernelManager(kernel_name=kernel_name, kernel_spec_manager=ThisPython())
        hooks = {"timeout_func": run.allowed, "on_cell_execute": run.begin, "on_cell_executed": run.end}
        limits = {"startup_timeout": START_LIMIT, "iopub_timeout": 60}
        folder, env = run.path.parent, {**os.environ, **(run.env or {})}
        with open(folder / LOG, "wb") as log, run.killer(manager):  # what a crash prints is kept there
            client = _Client(nb_man, manager, log=logging.getLogger("papermill"), **limits, **hooks)
            client.execute(cwd=str(folder), env=env, stdout=log, stderr=log, cleanup_kc=True)


@dataclass
class Execution:
    """One execution of a notebook in its own folder."""

    nb: NotebookNode  # with papermill's metadata
    path: Path  # where papermill saves it, before and after every cell
    limit: float  # seconds for all cells together
    progress: bool  # print a line a cell
    env: Mapping[str, str] | None  # for the kernel, beside the environment of this process
    stopped: Callable[[], bool]  # asked five times a second; once true, the kernel is killed
    at: int | None = None  # index of the cell that began last
    cells: list[dict[str, Any]] = field(default_factory=list)  # that started: cell, title, seconds or None
    start: float = field(default_factory=time.monotonic)
    since: float = 0.0  # when the cell began
    memory: int = 0  # bytes that the kernel held at its peak

    def __post_init__(self) -> None:
        code = [i for i, one in enumerate(self.nb.cells) if one.cell_type == "code" and INJECTED not in tags(one)]
        self.numbers = {index: number for number, index in enumerate(code, start=1)}  # from 1, as they were given

    def run(self) -> tuple[str, dict[str, Any] | None]:
        """Execute all cells; status and error, as `Result` has them.

        Cells tagged `raises-exception` may fail, those tagged `skip-execution` do not run.
        """
        try:
            _Engine.execute_notebook(self.nb, KERNEL, str(self.path), progress_bar=False, run=self)
            if self.nb.metadata.papermill.exception is None:
                return "ok", None
            failed = next(cell for cell in self.nb.cells if cell.metadata.papermill.exception)
            error = next(one for one in reversed(failed.outputs) if one.output_type == "error")
            status, message = "failed", f"{error.ename}: {error.evalue}"
        except CellTimeoutError:
            status, message = "timeout", f"still at work when the time was up ({self.limit:g} s for the whole notebook)"
        except DeadKernelError:
            words = f"out of memory, a crash, or an exit of the process ({LOG} has its last words)"
            status, message = "died", f"the kernel died: {words}"
        except KeyboardInterrupt:
            logging.getLogger("asyncio").addFilter(_foreseen)  # a task nobody waits for any more finds the kernel dead
            status, message = "interrupted", "interrupted from the keyboard"
        except Exception as error:
            status, message = "failed", f"the notebook could not be executed: {type(error).__name__}: {error}"
        if self.stopped():
            status, message = "interrupted", "stopped from outside"
        for index, cell in enumerate(self.nb.cells):  # papermill wrote "completed"
            if self.at is None or index >= self.at:
                cell.metadata.papermill["status"] = "failed" if index == self.at else "pending"
        if self.progress and self.at is not None and self.cells[-1]["seconds"] is None:
            print(status, flush=True)
        return status, self.blame(" ".join(message.split())[:300])

    @contextlib.contextmanager
    def killer(self, manager: AsyncKernelManager) -> Iterator[None]:
        """Meanwhile, see what memory the kernel holds, and kill it once `stopped` says so."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(0.2):
                process = getattr(manager.provisioner, "process", None)
                if process is not None:
                    self.memory = max(self.memory, _held(process.pid))
                    if self.stopped():
                        process.kill()

        threading.Thread(target=watch, daemon=True).start()
        try:
            yield
        finally:
            ended.set()

    def begin(self, cell: NotebookNode, cell_index: int) -> None:
        self.since, self.at = time.monotonic(), cell_index
        number = self.numbers.get(cell_index)
        if number is not None:
            self.cells.append({"cell": number, "title": _title(cell), "seconds": None})
            if self.progress:
                print(f"  cell {number:>2}/{len(self.numbers)}  {_title(cell):<60}", end=" ", flush=True)
        if self.allowed(cell) <= LEAST:
            raise CellTimeoutError

    def end(self, cell: NotebookNode, cell_index: int, execute_reply: dict[str, Any]) -> None:
        if cell_index in self.numbers:
            self.cells[-1]["seconds"] = round(time.monotonic() - self.since, 3)
            if self.progress:
                print(f"{self.cells[-1]['seconds']:7.1f} s", flush=True)

    def allowed(self, cell: NotebookNode) -> float:
        """Seconds that the cell may take, never 0 (which nbclient takes for no limit)."""
        return max(LEAST, self.start + self.limit - time.monotonic())

    def blame(self, message: str) -> dict[str, Any]:
        """The error record, which points at the cell that began last."""
        if self.at is None:
            return {"message": message}
        cell, number = self.nb.cells[self.at], self.numbers.get(self.at, 0)
        where = f"code cell {number}" if number else "the cell of the given parameters"
        return {"message": f"{where}: {message}", "cell": number, "source": cell.source}


def _title(cell: NotebookNode) -> str:
    """The comment that a cell opens with, or its first line; at most 60 characters."""
    return (cell.source.strip().splitlines() or [""])[0].lstrip("#% ")[:60]


def _held(pid: int) -> int:
    """Bytes that a process held at its peak, where the system tells (Linux, Windows), else that it holds now."""
    try:
        found = re.search(rb"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_bytes())
        return 1024 * int(found[1]) if found else 0
    except OSError:
        pass
    try:
        told = psutil.Process(pid).memory_info()
        return int(getattr(told, "peak_wset", told.rss))
    except psutil.Error:  # it has ended
        return 0


def _foreseen(record: logging.LogRecord) -> bool:
    """False for what asyncio says of a kernel that was stopped on purpose."""
    return not (record.exc_info and isinstance(record.exc_info[1], DeadKernelError))


# -- one notebook, and the course ------------------------------------------------------------------------------------


def check_loopback() -> None:
    """Raise `R3labError` where nothing can be said to a kernel: jupyter would wait for its answer for minutes."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), LOOPBACK).close()
    except OSError as error:
        raise R3labError(
            f"This machine cannot reach itself at 127.0.0.1 ({error.strerror or error}), and a notebook's kernel is "
            "spoken to there. Allow connections to the loopback interface (`ip link set lo up`, where it is down)."
        ) from None


def run_notebook(
    path: str | Path,
    parameters: Mapping[str, Any] | None = None,
    out_root: str | Path = "runs",
    timeout: float = 1800,
    progress: bool = True,
    quick: bool | None = None,
    resume: bool = False,
    env: Mapping[str, str] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Result:
    """Execute one notebook in a folder of its own.

    Parameters
    ----------
    path
        The notebook; it is not changed.
    parameters
        Values for names in its `parameters` cell, of the defaults' types.
    out_root
        Folder under which `<notebook>/<key>/` is made. The kernel works in that folder.
    timeout
        Seconds for all cells together.
    progress
        Print a line a cell.
    env
        For the kernel, beside the environment of this process.
    stopped
        Asked five times a second; once it is true, the kernel is killed and the status is "interrupted".
    quick
        Value for the parameter `quick`, if the notebook has one and `parameters` does not set it.
    resume
        Return the earlier result where the same run already ended with "ok".

    Returns
    -------
    Result
        Also for a run that failed, died, timed out or was interrupted: look at `status`.

    Raises
    ------
    R3labError
        Before anything runs: not a notebook, unknown parameter, wrong type, a folder that cannot be made, a machine
        that does not reach itself.
    """
    path, nb = Path(path), read_notebook(path)
    given, full = given_values(parameters or {}, parameters_of(nb), quick)
    folder = Path(out_root) / path.stem / run_key(nb, full)
    earlier = Result.load(folder)
    if resume and earlier is not None and earlier.status == "ok":
        return earlier
    check_loopback()
    executed = folder.resolve() / f"{path.stem}.ipynb"
    nb = load_notebook_node(nb)
    if given:
        nb = parameterize_notebook(nb, given, kernel_name=KERNEL, language="python")
    nb = prepare_notebook_metadata(nb, str(path), str(executed))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in (folder / RESULT, folder / f"{path.stem}.html"):
            old.unlink(missing_ok=True)
        nbformat.write(nb, executed)
    except OSError as error:
        raise R3labError(f"Cannot write to {shown(str(folder))}: {error.strerror}. Choose another.") from None
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    run = Execution(nb, executed, timeout, progress, env, stopped)
    status, fault = run.run()
    if fault is not None:
        banner = f"**This run did not finish: {status}.** <code>{escape(fault['message'])}</code>"
        run.nb.cells.insert(0, nbformat.v4.new_markdown_cell(banner))
    nbformat.write(run.nb, executed)
    try:
        executed.with_suffix(".html").write_text(page_of(run.nb, path.stem), encoding="utf-8")
    except Exception as trouble:
        if status == "ok":
            status, fault = "failed", {"message": f"no page made: {type(trouble).__name__}: {trouble}"}
    values: dict[str, Value] = {}
    try:
        values = recorded(run.nb)
    except R3labError as trouble:
        if status == "ok":
            status, fault = "failed", {"message": str(trouble)}
    seconds = round(time.monotonic() - run.start, 3)
    told = (path.name, status, full, __version__, started, seconds, run.cells, fault)
    result = Result(*told, folder, values, run.memory)
    write_whole(folder / RESULT, result.text())
    return result


def lessons_of(folder: str | Path) -> list[Path]:
    """Every `NN_name.ipynb` of the course in order; an `R3labError` where there is none."""
    paths = sorted(Path(folder).glob(PATTERN))
    if not paths:
        raise R3labError(f"No NN_name.ipynb in {shown(str(folder))}. Give the folder of the course.")
    return paths


def course(
    folder: str | Path = "notebooks",
    quick: bool = True,
    out_root: str | Path = "runs",
    resume: bool = False,
    timeout: float = 1800,
) -> list[Result]:
    """Run every lesson of `folder` in order, whatever happens to those before; print a table.

    Parameters
    ----------
    folder, quick, out_root, resume, timeout
        As for `run_notebook`.

    Returns
    -------
    list of Result
        In order; the last is "interrupted" where somebody pressed Ctrl-C, and then the rest did not run.

    Raises
    ------
    R3labError
        The folder holds no such notebook.
    """
    paths = lessons_of(folder)
    results: list[Result] = []
    for path in paths:
        print(path.name, flush=True)
        results.append(run_notebook(path, None, out_root, timeout, quick=quick, resume=resume))
        if results[-1].status == "interrupted":
            break
    width = max(len(path.name) for path in paths)
    print(f"\n{'notebook':<{width}}  {'status':<11}  {'seconds':>7}  {'peak GB':>7}  page")
    for result in results:
        spent = (
            f"{result.seconds:>7.1f}  {result.memory / 1e9:>7.2f}"
            if result.memory
            else f"{result.seconds:>7.1f}        -"
        )
        print(f"{result.notebook:<{width}}  {result.status:<11}  {spent}  {result.page or '-'}")
    for result in results:
        if result.error is not None:
            print(f"\n{result.describe()}", flush=True)
    return results
