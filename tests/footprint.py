"""A picture of process-wide state, taken from inside a program: what may not change.

Imported by programs under test; standard library only, and it leaves no trace itself.
"""

import builtins
import decimal
import faulthandler
import fcntl
import gc
import getpass
import hashlib
import inspect
import io
import linecache
import locale
import logging
import multiprocessing
import os
import pdb
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import tracemalloc
import types
import warnings

MODULES = (
    *(pdb, getpass, linecache, inspect, io, socket, time, subprocess, traceback),
    *(multiprocessing, os, threading, signal, warnings, logging, random, locale, sys),
)
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, type)
# Set by whatever code runs last, or counted by the interpreter.
_RESTLESS = frozenset(("_name", "__warningregistry__", "_active", "_counter", "_cache"))


def take(main):
    """Return the state as {what: value}, values that compare.

    Args:
        main: the dict of ``__main__``.
    """
    state = {}
    for name in ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__"):
        state[f"sys.{name}"] = id(getattr(sys, name))
    for name in ("displayhook", "excepthook", "unraisablehook", "breakpointhook"):
        state[f"sys.{name}"] = id(getattr(sys, name))
    for name in ("ps1", "ps2", "last_type", "last_value", "last_traceback", "last_exc"):
        state[f"sys.{name}"] = id(getattr(sys, name)) if hasattr(sys, name) else None
    for name in ("path", "argv", "warnoptions", "orig_argv"):
        state[f"sys.{name}"] = list(getattr(sys, name))
    for name in ("meta_path", "path_hooks"):
        state[f"sys.{name}"] = [id(one) for one in getattr(sys, name)]
    for name in (
        *("getswitchinterval", "getrecursionlimit", "gettrace", "getprofile"),
        *("get_asyncgen_hooks", "get_coroutine_origin_tracking_depth"),
        *("get_int_max_str_digits", "getdlopenflags"),
    ):
        state[f"sys.{name}()"] = repr(getattr(sys, name)())
    if hasattr(sys, "monitoring"):
        state["sys.monitoring"] = [sys.monitoring.get_tool(n) for n in range(6)]
    state["sys.dont_write_bytecode"] = sys.dont_write_bytecode
    for name, module in list(sys.modules.items()):
        state[f"sys.modules[{name!r}]"] = id(module)
    for name, value in vars(builtins).items():
        state[f"builtins.{name}"] = id(value)
    for name, value in main.items():
        if name != "__warningregistry__":
            state[f"__main__.{name}"] = id(value)
    for module in MODULES:
        for name, value in list(vars(module).items()):
            if isinstance(value, _FUNCTIONS):
                state[f"{module.__name__}.{name}"] = id(value)
    state["__main__"] = sorted(main)
    state["os.environ"] = dict(os.environ)
    _signals(state)
    _warnings_and_logging(state)
    _rest(state)
    return state


def _signals(state):
    for number in sorted(signal.valid_signals()):
        state[f"handler of {number}"] = repr(signal.getsignal(number))
    state["signal mask"] = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))
    wakeup = signal.set_wakeup_fd(-1)
    if wakeup != -1:
        signal.set_wakeup_fd(wakeup)
    state["wakeup fd"] = wakeup
    if sys.platform == "linux":  # for signals that Python knows of no handler of, too
        with open("/proc/self/status") as file:
            kept = [line for line in file if line.startswith(("SigBlk", "SigIgn", "SigCgt"))]
        state["signals, as the system says"] = kept
    for name in ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF"):
        state[name] = signal.getitimer(getattr(signal, name))


def _warnings_and_logging(state):
    state["warnings.filters"] = [repr(one) for one in warnings.filters]
    state["warnings.defaultaction"] = getattr(warnings, "defaultaction", None)
    loggers = {"root": logging.root, **logging.root.manager.loggerDict}
    for name, logger in loggers.items():
        if isinstance(logger, logging.Logger):
            handlers = [
                id(handler)
                for handler in logger.handlers
                if not isinstance(handler, logging.NullHandler)  # a library's, when imported
            ]
            found = (logger.level, handlers, logger.propagate, logger.disabled)
            state[f"logger {name}"] = found
    # what gevent and eventlet give locks of theirs, and `logging` closes at the end
    known = [handler() for handler in logging._handlerList]
    state["logging's handlers"] = [
        id(handler)
        for handler in known
        if not isinstance(handler, (type(None), logging.NullHandler))
    ]
    state["logging.disable"] = logging.root.manager.disable
    state["logging.raiseExceptions"] = logging.raiseExceptions
    state["logging.getLoggerClass()"] = id(logging.getLoggerClass())


def _rest(state):
    state["threading.excepthook"] = id(threading.excepthook)
    state["threading.main_thread()"] = id(threading.main_thread())
    state["threading.gettrace()"] = repr(getattr(threading, "gettrace", lambda: None)())
    state["threading.enumerate()"] = [id(thread) for thread in threading.enumerate()]
    state["threading.stack_size()"] = threading.stack_size()
    state["threading.active_count()"] = threading.active_count()
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and hasattr(asyncio, "events"):
        state["asyncio policy"] = repr(asyncio.events._event_loop_policy)
        state["asyncio running loop"] = repr(asyncio.events._get_running_loop())
        for place in (asyncio.events, asyncio.runners, asyncio.tasks, asyncio.BaseEventLoop):
            for name, value in list(vars(place).items()):
                if isinstance(value, _FUNCTIONS):
                    state[f"asyncio {place.__name__}.{name}"] = id(value)
    state["time zone"] = (time.tzname, time.timezone, time.localtime(0)[:])
    state["flags of standard streams"] = [fcntl.fcntl(fd, fcntl.F_GETFL) for fd in range(3)]
    state["locale"] = locale.setlocale(locale.LC_ALL)
    state["cwd"] = os.getcwd()
    umask = os.umask(0)
    os.umask(umask)
    state["umask"] = umask
    for name in dir(resource):
        if name.startswith("RLIMIT_"):
            state[name] = resource.getrlimit(getattr(resource, name))
    state["nice"] = os.nice(0)
    state["faulthandler"] = faulthandler.is_enabled()
    state["gc"] = (gc.isenabled(), gc.get_threshold(), gc.get_debug(), gc.get_freeze_count())
    state["gc.callbacks"] = [id(one) for one in gc.callbacks]
    state["tracemalloc"] = tracemalloc.is_tracing()
    state["random"] = hashlib.sha256(repr(random.getstate()).encode()).hexdigest()
    state["decimal"] = repr(decimal.getcontext())
    state["socket.getdefaulttimeout()"] = socket.getdefaulttimeout()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        state["numpy.geterr()"] = numpy.geterr()


def differences(before, after):
    """Return what differs, as [(what, before, after)]; what imports add does not count."""
    added = ("sys.modules[", "logger ")
    found = []
    for what in sorted(before.keys() | after.keys()):
        old, new = before.get(what, "absent"), after.get(what, "absent")
        if old == new or (what.startswith(added) and old == "absent" and not _has_handlers(new)):
            continue
        if what.startswith(("asyncio ", "numpy.")) and old == "absent":
            continue  # was not imported before
        found.append((what, old, new))
    return found


def _has_handlers(logger):
    return isinstance(logger, (list, tuple)) and bool(logger[1])
