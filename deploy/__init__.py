"""How the platform runs: its database server, its processes, its example, its import."""

import os

if os.name != "posix":
    raise SystemExit("Duijie's launcher needs a Unix system; on Windows, use WSL.")
