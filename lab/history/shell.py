"""The shell: an interactive bash in which the lab's commands are at hand; bash itself records what is typed.

The person's own `~/.bash_history` and `~/.bashrc` are neither read nor changed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from lab.errors import LabError
from lab.settings import ROOT, Settings

SECRETS = (
    "*://*([!/ ]):*([!/ ])@*",
    *(f"*{name}[ =]*" for name in ("password", "passwd", "secret", "token")),
    "*uthorization:*",
)
"""Typed lines of these forms are not recorded: bash writes its history itself, and masks nothing."""

RCFILE = """\
# What `make shell` starts bash with.
export PATH={path}
PS1='lab$ '
# Off while it is set up, so that neither these lines nor another history get in.
set +o history
unset HISTCONTROL
# Sizes before the file: setting them cuts the file that is set down to that size.
HISTSIZE=1000000
HISTFILESIZE=1000000
HISTFILE={history}
HISTTIMEFORMAT='%F %T '
# A `make` line is left out: a step records the commands that it runs.
HISTIGNORE={ignored}
shopt -s histappend cmdhist lithist checkwinsize extglob
# Written after each command, so that a closed window loses none.
PROMPT_COMMAND='history -a'
set -o history
echo 'Commands that are typed here are recorded in '{shown}'.'
echo 'Try:  kafka-topics --bootstrap-server '{kafka}' --list'
echo '      hdfs dfs -ls -R '{tables}
echo "      presto --execute 'SHOW TABLES'"
echo '      make status, make help; and exit to leave.'
"""


def run(settings: Settings) -> int:
    """Give the terminal to a bash of this lab, and return its exit status. Raises LabError without a terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise LabError("make shell needs a terminal to type in, and there is none here.", "ls scripts")
    bash = shutil.which("bash")
    if bash is None:
        raise LabError("bash is not on the path.", "apt-get install bash")
    with tempfile.TemporaryDirectory(prefix="lab-shell-") as folder:
        rcfile = Path(folder, "bashrc")
        rcfile.write_text(rcfile_text(settings))
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("HIST", "LAB_", "MAKE"))
        }
        environment |= settings.to_env() | {"LAB_VENV": sys.prefix}
        # bash handles an interrupt typed at its prompt; this process only waits
        with subprocess.Popen([bash, "--noprofile", "--rcfile", str(rcfile), "-i"], cwd=ROOT, env=environment) as shell:
            while True:
                try:
                    return shell.wait()
                except KeyboardInterrupt:
                    continue


def rcfile_text(settings: Settings) -> str:
    """What the shell reads when it starts."""
    path = os.pathsep.join([str(ROOT / "scripts"), str(Path(sys.prefix) / "bin"), os.environ.get("PATH", os.defpath)])
    # a colon separates patterns, and one within a pattern is written with a backslash
    ignored = ":".join(pattern.replace(":", "\\:") for pattern in ("make", "make *", *SECRETS))
    return RCFILE.format(
        path=shlex.quote(path),
        history=shlex.quote(str(settings.history)),
        ignored=shlex.quote(ignored),
        shown=shlex.quote(str(settings.history)),
        kafka=shlex.quote(settings.kafka),
        tables=shlex.quote(settings.tables),
    )
