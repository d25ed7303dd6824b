"""Starts pytest anew under a fixed `PYTHONHASHSEED`, as every Headrace process has one."""

import os
import sys

if not os.environ.get("PYTHONHASHSEED", "").isdecimal():
    os.environ["PYTHONHASHSEED"] = "20"
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *sys.argv[1:]])
