"""``compress sign DIR``: a signature of everything that a run left, or a new key to sign with."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.cli import Subparsers

_EPILOG = """\
COMPRESS_KEY_PASSPHRASE holds the passphrase of an encrypted key; a new key is encrypted with it where it is set.

example:
  compress sign --new-key release.pem
  compress sign model.compressed --key release.pem
  compress verify model.compressed --key release.pub.pem
"""


def add_parser(commands: "Subparsers") -> None:
    """Add the command's flags."""
    parser = commands.add_parser(
        "sign",
        help="sign a folder of results with an Ed25519 key",
        description="Sign the statement of every file of a folder of results (provenance.json): the DSSE envelope "
        "statement.dsse.json is put beside it. The files are checked first.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, nargs="?", metavar="DIR", help="what `compress run` wrote")
    key = parser.add_mutually_exclusive_group(required=True)
    key.add_argument("--key", type=Path, metavar="PEM", help="the private key")
    key.add_argument(
        "--new-key", type=Path, metavar="PATH", help="make a key there, and beside it, as *.pub.pem, the public one"
    )


def run(options: argparse.Namespace) -> int:
    """Make a key, sign, or both; return 0."""
    from compress.errors import UsageError
    from compress.evidence.keys import make_key, readable_by_others

    if options.folder is None and options.new_key is None:
        raise UsageError("nothing to sign", hint="compress sign DIR --key PEM")
    if options.new_key is not None:
        if options.folder is not None and options.new_key.resolve().is_relative_to(options.folder.resolve()):
            raise UsageError(
                f"{options.new_key} would lie in {options.folder}, and go where that goes",
                hint="keep the private key in a folder of your own",
            )
        public = make_key(options.new_key)
        print(f"private key {options.new_key}, yours alone; public key {public}, for whoever verifies")
    elif readable_by_others(options.key):
        print(f"warning: others may read {options.key}: chmod 600 {options.key}", file=sys.stderr)
    return 0 if options.folder is None else _sign(options.folder, options.key or options.new_key)


def _sign(folder: Path, key: Path) -> int:
    from compress.errors import ConfigError
    from compress.evidence.envelope import sign
    from compress.evidence.files import check_files, check_report
    from compress.evidence.keys import read_private_key
    from compress.evidence.statement import ENVELOPE, read_statement, require_folder
    from compress.report.json_file import read_report
    from compress.store import REPORT

    private = read_private_key(key)
    require_folder(folder)
    digests = read_statement(folder).digests
    wrong = check_files(folder, digests) or check_report(read_report(folder / REPORT), digests)
    if wrong:
        raise ConfigError(
            f"{folder} is not what the run left: {wrong[0].what}: {wrong[0].reason}",
            hint=f"`compress verify {folder}` lists everything",
        )
    name = sign(folder, private)
    print(f"{len(digests)} files signed with key {name}: {folder / ENVELOPE}")
    return 0
