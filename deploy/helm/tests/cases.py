"""A plain runner: functions named `test_…` of the modules it is given, in their order, and one closing line."""

import inspect
import sys
import time
import traceback

passed, failed = 0, []


def run(*modules, only=""):
    """Runs the tests of the modules whose name contains `only`."""
    global passed
    for module in modules:
        for name, function in list(vars(module).items()):
            if not name.startswith("test_") or not inspect.isfunction(function) or only not in f"{module.__name__}.{name}":
                continue
            started = time.monotonic()
            try:
                function()
            except Exception:  # A failure is told whole, and the others still run.
                traceback.print_exc()
                failed.append(f"{module.__name__}.{name}")
                print(f"FAILED {module.__name__}.{name}", flush=True)
            else:
                passed += 1
                print(f"ok {module.__name__}.{name} ({time.monotonic() - started:.1f} s)", flush=True)


def finish():
    """Says how it went, and ends the program."""
    for name in failed:
        print(f"failed: {name}")
    print(f"{passed} passed, {len(failed)} failed")
    sys.exit(1 if failed or not passed else 0)


def refused(function, *words):
    """The function must fail with a message that holds all the words."""
    try:
        answer = function()
    except RuntimeError as error:
        for word in words:
            assert word in str(error), f"{word!r} is missing in: {error}"
        return str(error)
    raise AssertionError(f"was not refused; it answered {str(answer)[:300]}")
