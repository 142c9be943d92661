"""``python usage.py FILE COMMAND…`` runs a command and writes down what it took.

A process is said to have been as large as the one that started it: this small one stands between.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    process = subprocess.Popen(sys.argv[2:])
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    took = {
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_bytes": used.ru_maxrss * 1024,
    }
    Path(sys.argv[1]).write_text(json.dumps(took))
    sys.exit(process.returncode)
