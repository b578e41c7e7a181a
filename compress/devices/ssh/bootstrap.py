"""The first program on the board: any Python reads it, says if it is too old, keeps the agent's archive, starts it.

It is handed to ``python3 -c`` as text. Whatever ends it early (a short archive, a full disk) removes what it made.
"""

from typing import Final

OLDEST_PYTHON: Final = (3, 9)

BOOTSTRAP: Final = """
import sys
if sys.version_info < (3, 9):
    sys.stdout.write('{"python": "%d.%d.%d"}' % tuple(sys.version_info[:3]))
    sys.exit(0)
import errno, hashlib, json, os, shutil, tempfile
base, size, sha256, lease, run, grace = sys.argv[1:]
base = os.path.expanduser(base or os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "edge-compress-agent"))
folder = None
def give_up(**answer):
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
    try:
        os.rmdir(base)
    except OSError:
        pass
    sys.stdout.write(json.dumps(answer))
    sys.exit(0)
try:
    os.makedirs(base, 0o700, exist_ok=True)
    folder = tempfile.mkdtemp(prefix="edge-compress-run-", dir=base)
    content = sys.stdin.buffer.read(int(size))
    if hashlib.sha256(content).hexdigest() != sha256:
        give_up(error="the agent did not arrive whole", kind="damaged")
    path = os.path.join(folder, "board.pyz")
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
except OSError as error:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    give_up(error="%s (%s)" % (error.strerror or error, base), kind="disk" if full else "folder")
import subprocess
done = subprocess.run([sys.executable, path, "start", folder, lease, run, grace], stdout=subprocess.PIPE)
try:
    answer = json.loads(done.stdout.decode())
except ValueError:
    give_up(error="the agent does not start", kind="failed")
if "started" not in answer:
    give_up(**answer)
sys.stdout.write(json.dumps(dict(answer, folder=folder)))
"""
"""Arguments: base folder (empty: the user's cache), bytes and SHA-256 of the archive on standard input, the lease's
path, who runs, seconds without a sign of life. Prints one JSON object."""
