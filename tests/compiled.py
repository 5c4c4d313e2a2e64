"""Where this test run keeps what JAX compiled, for all its processes; gone at the end.

Most of the time would else go into compiling the same functions in a hundred homes.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

_RUN = "FEDTUI_TESTS_COMPILED"

if _RUN not in os.environ:
    os.environ[_RUN] = tempfile.mkdtemp(prefix="fedtui-compiled-")
    atexit.register(shutil.rmtree, os.environ[_RUN], ignore_errors=True)
# Each worker has its own: JAX writes its files piece by piece, where others may read them.
FOLDER = Path(os.environ[_RUN], os.environ.get("PYTEST_XDIST_WORKER", "alone"))
FOLDER.mkdir(exist_ok=True)
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(FOLDER)  # before anything imports JAX
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
