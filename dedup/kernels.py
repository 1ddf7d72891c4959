"""The one decorator of every compiled loop, and word of when it compiles.

Kernels take and return arrays, check nothing and raise nothing: the stage
that calls one has checked its arguments. They release the GIL, so stages run
them from threads over slices of rows.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from numba import njit

# Whether compiled kernels can be kept: in a folder that can be written.
is_cached = True


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function with Numba, without the GIL, kept on disk between runs.

    Where no folder can be written (the package's, the user's, the one that
    `NUMBA_CACHE_DIR` names), every run compiles anew.

    Requires
    --------
    Kernels that call each other stand in one file: the disk cache of Numba
    does not notice a change in another file and runs the old code.
    """
    global is_cached
    try:
        compiled: Callable[..., Any] = njit(cache=True, nogil=True)(function)
    except RuntimeError:
        # Not a temporary folder: what lies there is loaded as code.
        is_cached = False
        compiled = njit(nogil=True)(function)
    return compiled


@contextmanager
def compilation_notice(notify: Callable[[], None]) -> Iterator[None]:
    """Call `notify` once, when the first kernel inside the block has to be compiled.

    Kernels that come out of the disk cache do not count.
    """
    from numba.core import event

    told = False

    class _Notice(event.Listener):
        def on_start(self, event: Any) -> None:
            nonlocal told
            if not told:
                told = True
                notify()

        def on_end(self, event: Any) -> None:
            pass

    with event.install_listener("numba:compile", _Notice()):
        yield
