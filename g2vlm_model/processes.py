# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""How processes end: commands by a signal or for want of ROS, children with their parent.

Standard library only.

A command that is told to end (SIGINT, SIGTERM, SIGHUP) gets a KeyboardInterrupt, so what it holds
is given back in order, and ends with `INTERRUPTED`. Told again, it ends at once (`AtOnce`).

A child ends with its parent, however the parent ends. Two things see to it: the kernel sends a
signal when the thread that started the child is gone (prctl(2), PR_SET_PDEATHSIG; Linux only), and
the child reads a pipe of which the parent holds the other end, which the kernel closes with the
parent. The pipe needs no polling, knows no reuse of process ids, and works where another process
stands between the two.

A command that is done ends at once (`leave`), whatever its threads still do. Python up to 3.13 ends
a daemon thread that comes back from a library into an ending interpreter by unwinding its stack
(pthread_exit), and C++ that stands on the stack (torch, rclpy) makes SIGABRT of it.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

__all__ = [
    "INTERRUPTED",
    "REMINDER",
    "AtOnce",
    "Told",
    "asked_again",
    "end_with_parent",
    "end_with_spawner",
    "ended_by_signals",
    "flush_output",
    "leave",
    "lifeline",
    "may_raise",
    "ros_missing",
    "started",
]

INTERRUPTED = 130  # exit code of a command that was told to end, as of a shell's: 128 + SIGINT
LIFELINE = "G2VLM_LIFELINE"  # the descriptor that a child reads
_FROM_ROS = re.compile(r"(rcl\w+|tf2_\w+|ament_\w+|\w+_(msgs|srvs|interfaces))$")
_TOLD_BY = ("SIGINT", "SIGTERM", "SIGHUP")
_AGAIN_S = 1.0  # behind the first: a terminal, `timeout` and a supervisor may each send one
_APART_S = 0.3  # behind the one before: a key that is held repeats itself faster
_LOST_S = 0.05
REMINDER = signal.SIGURG  # ignored where nobody has a handler for it
_REMIND = b"\0"  # no signal's number
_IMPORTS = "<frozen importlib"
_GRACE_S = 20.0  # for a child to end in order when its parent is gone
_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


class AtOnce:
    """Ends the process at the second request to end, whatever its threads do, by `INTERRUPTED`.

    A second request is a signal a second or more behind the first and 0.3 s or more behind the one
    before: what a terminal, a supervisor or a key that is held sends in a moment is one request.
    Files are whole all the same (`whole_files`), and children end (`started`).

    Python's own handlers wait until the main thread comes back from C, e.g. from a pass. So the
    kernel's handler writes a byte for each signal into a pipe (`signal.set_wakeup_fd`), which a
    thread reads. To be made, ahead of the handlers, and closed in the main thread.

    Args:
        numbers: Signals that ask for an end, all of which get a handler of Python.
    """

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = frozenset(numbers)
        reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._thread = threading.Thread(
            target=self._read, args=(reading,), name="g2vlm-signals", daemon=True
        )
        self._thread.start()

    def remind(self) -> None:
        """Have this process send itself `REMINDER` in a moment.

        A handler may call it wherever it came: no lock is taken, no thread started.
        """
        with contextlib.suppress(OSError):  # full of signals: it comes for those
            os.write(self._writing, _REMIND)

    def close(self) -> None:
        """Look no more."""
        signal.set_wakeup_fd(self._before)
        os.close(self._writing)
        self._thread.join()

    def _read(self, descriptor: int) -> None:
        first_s: float | None = None
        last_s = 0.0
        with open(descriptor, "rb", buffering=0) as pipe:
            while numbers := pipe.read(4096):
                count, now_s = sum(number in self._numbers for number in numbers), time.monotonic()
                if _REMIND in numbers:
                    time.sleep(_LOST_S)
                    os.kill(os.getpid(), REMINDER)
                if not count:
                    continue
                if first_s is None:
                    first_s = now_s
                elif count == 1 and now_s - first_s >= _AGAIN_S and now_s - last_s >= _APART_S:
                    with contextlib.suppress(OSError):
                        os.write(2, b"told to end twice: ends at once\n")
                    os._exit(INTERRUPTED)
                last_s = now_s


def may_raise(frame: FrameType | None) -> bool:
    """Whether a signal's handler that came in this frame may raise.

    Not while a module is imported: C++ that stands on the stack there (torch's) makes SIGABRT of
    an exception, and modules take what they import for absent. Not while a thread is started: it
    would run, and its owner not know.
    """
    while frame is not None:
        code = frame.f_code
        if code is threading.Thread.start.__code__ or code.co_filename.startswith(_IMPORTS):
            return False
        frame = frame.f_back
    return True


def asked_again(kind: type[BaseException], lost: Callable[[], object]) -> Callable[[Any], Any]:
    """Hear of a signal whose exception came in a callback (`__del__`) and was lost there.

    Args:
        kind: What the signal's handler raises; other errors of callbacks are told as before.
        lost: Called then.

    Returns:
        The `sys.unraisablehook` before, to be put back.
    """
    before = sys.unraisablehook

    def hook(found: Any) -> None:
        if isinstance(found.exc_value, kind):
            lost()
        else:
            before(found)

    sys.unraisablehook = hook
    return before


@dataclass
class Told:
    """Whether this process was told to end."""

    asked: bool = False


_told: list[Told] = []  # of the block that is open; what it calls shares it


@contextlib.contextmanager
def ended_by_signals(last: bool = False) -> Iterator[Told]:
    """Make SIGTERM and SIGHUP what SIGINT is, a KeyboardInterrupt in the block, once.

    More of them do not break off the cleaning up that the first one began, until a second request
    ends the process (`AtOnce`). Signals that are ignored (a job in the background, nohup) stay so.
    Outside of the main thread nothing changes: only there signals arrive. A block inside another
    one is that one. What a library makes of the KeyboardInterrupt on its way (numpy's C code an
    ImportError, a wrapper a RuntimeError) leaves the block as one again. What must not be broken
    off (`may_raise`) is done first.

    Args:
        last: Nothing comes behind the block but `leave`: until that one, signals are not heard.
    """
    if threading.current_thread() is not threading.main_thread():
        yield Told()
        return
    if _told:
        with _as_interrupt(_told[-1]):
            yield _told[-1]
        return
    told, open_ = Told(), True  # open_: it has not been raised, or it was lost

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal open_
        told.asked |= number != REMINDER
        if not (told.asked and open_):
            return
        open_ = not may_raise(frame)
        if not open_:
            raise KeyboardInterrupt
        at_once.remind()

    def lost() -> None:
        nonlocal open_
        open_ = True
        at_once.remind()

    numbers = [getattr(signal, name) for name in _TOLD_BY if hasattr(signal, name)]
    heard = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    at_once = AtOnce(heard)
    hook = asked_again(KeyboardInterrupt, lost)
    before: dict[int, Any] = {}
    _told.append(told)
    try:
        for number in (*heard, REMINDER):
            before[number] = signal.getsignal(number)
            signal.signal(number, interrupt)
        with _as_interrupt(told):
            yield told
    finally:
        open_ = open_ and not last
        _told.pop()
        sys.unraisablehook = hook
        for number, handler in () if last else before.items():
            signal.signal(number, handler)
        at_once.close()


@contextlib.contextmanager
def _as_interrupt(told: Told) -> Iterator[None]:
    """Let an error of a block that was told to end be what told it."""
    try:
        yield
    except Exception as error:
        if told.asked:
            raise KeyboardInterrupt from error
        raise


def flush_output() -> bool:
    """Write out what was printed; False where nobody reads it any more, as behind `| head`.

    Nothing more is printed then, so that the interpreter's end has nothing to complain of.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


def leave(code: int) -> NoReturn:
    """End this process: in order, or at once where a daemon thread is still at work.

    Who is told to end meanwhile is done already: it ends at once, with the same code. The last of
    an orderly end, when Python has taken its handlers away, hears of nothing any more.

    Args:
        code: Exit code.
    """
    own = threading.current_thread()
    numbers = [getattr(signal, name) for name in _TOLD_BY if hasattr(signal, name)]
    heard = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    if own is not threading.main_thread():
        heard = []

    def at_once(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(Exception):  # it may come in the midst of a flush
            flush_output()
        os._exit(code)

    for number in heard:
        signal.signal(number, at_once)
    with contextlib.suppress(OSError, ValueError):  # a full disk; closed
        flush_output()
    # Python remembers an interrupt of source text (a dataclass that is imported) even where it was
    # caught, and `python -m` ends by SIGINT for it, unless more source text ran well: that of this.
    collections.namedtuple("Ended", ())
    others = [thread for thread in threading.enumerate() if thread is not own]
    if not any(thread.daemon for thread in others):
        if not others:
            atexit._run_exitfuncs()
            for number in heard:
                signal.signal(number, signal.SIG_IGN)
        sys.exit(code)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more; closed
            stream.flush()
    os._exit(code)


def started(
    command: Sequence[str], environment: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen[Any]:
    """Start a process of this project that ends with this one; it calls `end_with_parent`.

    Args:
        command: Program and arguments.
        environment: Of the child; None: this process's.
        options: Others of `subprocess.Popen`.

    Raises:
        OSError: It could not be started.
    """
    ours, theirs = lifeline()
    values = {**(os.environ if environment is None else environment), LIFELINE: str(theirs)}
    try:
        process = subprocess.Popen(command, env=values, pass_fds=(theirs,), **options)
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    weakref.finalize(process, os.close, ours)  # held until nobody asks for the child any more
    return process


def lifeline() -> tuple[int, int]:
    """A pipe's writing and reading end: who reads the second sees when the first is closed."""
    theirs, ours = os.pipe()
    return ours, theirs


def end_with_parent(descriptor: int | None = None, *, kill: bool = False) -> None:
    """End this process when the one that started it is gone.

    Nothing happens in a process that nobody started so.

    Args:
        descriptor: What this process reads; None: what `started` left in the environment.
        kill: By SIGKILL at once, for work that leaves nothing which others need; else by SIGTERM,
            and by SIGKILL where the process is still there after 20 s.
    """
    if descriptor is None:
        named = os.environ.pop(LIFELINE, "")  # not for the processes further down
        if not (named.isascii() and named.isdigit()):
            return
        descriptor = int(named)
    number = signal.SIGKILL if kill else signal.SIGTERM
    with contextlib.suppress(OSError):  # no such descriptor: a variable that was handed on
        os.set_inheritable(descriptor, False)
        threading.Thread(
            target=_wait, args=(descriptor, number), name="g2vlm-parent", daemon=True
        ).start()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # a libc without it
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def end_with_spawner() -> None:
    """End this process, started by multiprocessing, by SIGKILL when its parent is gone.

    Without it a worker outlives a parent that was killed: it waits for work for ever, as it holds
    the writing end of its own queue.
    """
    from multiprocessing import parent_process

    parent = parent_process()
    if parent is not None:
        end_with_parent(parent.sentinel, kill=True)


def _wait(descriptor: int, number: int) -> None:
    """End this process when the other end of a pipe is closed."""
    with contextlib.suppress(OSError):
        while os.read(descriptor, 1):
            pass
    os.kill(os.getpid(), number)
    time.sleep(_GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)


def ros_missing(error: ImportError) -> str:
    """What to do where a package of ROS cannot be imported, in one line; "" where it is another."""
    package = (error.name or "").partition(".")[0]
    if not _FROM_ROS.match(package):
        return ""
    return (
        f"{package} of ROS 2 is missing: source an installation and the workspace in which "
        "g2vlm_interfaces is built, or use the .venv that `make setup` makes"
    )
