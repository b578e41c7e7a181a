"""A signed folder: what is changed in it is named, and nothing that is wrong passes."""

import base64
import errno
import json
import shutil
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from small_project import FASHION, RECIPE, Compress, change_a_byte

from compress.evidence.keys import PASSPHRASE
from compress.evidence.statement import ENVELOPE, PROVENANCE
from compress.store import hash_file

DATA = ("--data", "evaluation.toml")


@pytest.fixture(autouse=True)
def _no_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSPHRASE, raising=False)


@pytest.fixture
def signed(compress: Compress, results: Path) -> Path:
    """Return a folder of results that is signed with ``key.pem``, beside it."""
    assert compress("sign", "--new-key", "key.pem").code == 0
    done = compress("sign", results, "--key", "key.pem")
    assert done.code == 0, done.err
    return results


def test_a_signed_folder_is_right_with_its_key_and_says_with_which(compress: Compress, signed: Path) -> None:
    done = compress("verify", signed, "--key", "key.pub.pem", "--require-signature", *DATA)
    assert done.code == 0, done.out + done.err
    name = json.loads((signed / ENVELOPE).read_text())["signatures"][0]["keyid"]
    assert done.out.splitlines()[-1].endswith(f"files are as they were signed with key {name}")
    found = json.loads(compress("verify", signed, "--key", "key.pub.pem", "--no-run", "--json").out)
    assert found["signature"] == {"state": "right", "key": name}


def test_the_signature_is_ed25519_over_what_dsse_says(compress: Compress, signed: Path) -> None:
    envelope = json.loads((signed / ENVELOPE).read_text())
    payload = (signed / PROVENANCE).read_bytes()
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert base64.b64decode(envelope["payload"]) == payload
    key = load_pem_public_key(Path("key.pub.pem").read_bytes())
    message = b"DSSEv1 28 application/vnd.in-toto+json " + str(len(payload)).encode() + b" " + payload
    key.verify(base64.b64decode(envelope["signatures"][0]["sig"]), message)  # type: ignore[union-attr, call-arg]


def test_without_a_key_the_signature_is_said_to_be_unchecked(compress: Compress, signed: Path) -> None:
    done = compress("verify", signed, "--no-run")
    assert done.code == 0
    assert "its signature was NOT checked: give --key" in done.out
    assert json.loads(compress("verify", signed, "--no-run", "--json").out)["signature"]["state"] == "unchecked"
    done = compress("verify", signed, "--no-run", "--require-signature")
    assert (done.code, "add --key KEY.pub.pem" in done.err) == (2, True)


def test_a_folder_that_is_not_signed_does_not_pass_with_a_key(compress: Compress, results: Path) -> None:
    compress("sign", "--new-key", "key.pem")
    assert "it is not signed" in compress("verify", results, "--no-run").out
    assert "is not signed" in compress("verify", results, "--no-run", "--require-signature").err
    done = compress("verify", results, "--no-run", "--key", "key.pub.pem")
    assert done.code == 2
    assert done.out.startswith(f"missing  {ENVELOPE}: the folder is not signed")


def test_another_key_is_named(compress: Compress, signed: Path) -> None:
    compress("sign", "--new-key", "other.pem")
    done = compress("verify", signed, "--key", "other.pub.pem", *DATA)
    assert done.code == 2
    assert done.out.startswith(f"unsigned {ENVELOPE}: signed with key ")
    assert "not with other.pub.pem" in done.out
    assert len(done.out.splitlines()) == 2


@pytest.mark.parametrize(
    "name", ["engine/board/model.onnx", "report.json", "recipe.lock.toml", "measurements/board.npz", PROVENANCE]
)
def test_one_changed_byte_of_a_file_is_named(compress: Compress, signed: Path, name: str) -> None:
    change_a_byte(signed / name)
    done = compress("verify", signed, "--key", "key.pub.pem", *DATA)
    assert done.code == 2
    assert done.out.startswith(f"changed  {name}: ")
    assert len(done.out.splitlines()) == 2


def test_one_changed_byte_of_the_data_is_named(compress: Compress, project: Path, signed: Path) -> None:
    labels = project / "labels.gz"
    shutil.copy(FASHION / "t10k-labels-idx1-ubyte.gz", labels)
    import gzip

    changed = bytearray(gzip.decompress(labels.read_bytes()))
    changed[8:] = bytes((each + 1) % 10 for each in changed[8:])
    labels.write_bytes(gzip.compress(bytes(changed), mtime=0))
    images = FASHION / "t10k-images-idx3-ubyte.gz"
    (project / "evaluation.toml").write_text(RECIPE.format(source=images, labels=labels, count=400))
    done = compress("verify", signed, "--key", "key.pub.pem", *DATA)
    assert (done.code, done.out.startswith("changed  data evaluation.toml: digest ")) == (2, True)


def test_a_changed_signature_or_payload_is_named(compress: Compress, signed: Path) -> None:
    path = signed / ENVELOPE
    right = json.loads(path.read_text())
    signature = bytearray(base64.b64decode(right["signatures"][0]["sig"]))
    signature[10] ^= 1
    payload = base64.b64decode(right["payload"]).replace(b"board", b"bored")
    other = {"keyid": right["signatures"][0]["keyid"], "sig": base64.b64encode(signature).decode()}
    for change in ({"signatures": [other]}, {"payload": base64.b64encode(payload).decode()}):
        path.write_text(json.dumps({**right, **change}))
        done = compress("verify", signed, "--key", "key.pub.pem", "--no-run")
        assert done.code == 2
        assert done.out.startswith(f"changed  {ENVELOPE}: the signature of key.pub.pem does not fit")


def test_every_byte_of_signature_and_payload_counts(compress: Compress, signed: Path) -> None:
    path = signed / ENVELOPE
    right = path.read_bytes()
    start = right.index(b'"sig": "') + 8
    for place in range(start, start + 88):
        wrong = bytearray(right)
        wrong[place] ^= 1
        path.write_bytes(wrong)
        done = compress("verify", signed, "--key", "key.pub.pem", "--no-run")
        assert (done.code, done.out.startswith(f"changed  {ENVELOPE}: ")) == (2, True), place


def test_a_statement_that_was_replaced_together_with_a_file_is_named(compress: Compress, signed: Path) -> None:
    """Somebody who can write to the folder, and knows of the statement, has no key."""
    change_a_byte(signed / "model.onnx")
    statement = json.loads((signed / PROVENANCE).read_text())
    for subject in statement["subject"]:
        if subject["name"] == "model.onnx":
            subject["digest"]["sha256"] = hash_file(signed / "model.onnx")
    (signed / PROVENANCE).write_text(json.dumps(statement))
    done = compress("verify", signed, "--key", "key.pub.pem", "--no-run")
    assert done.code == 2
    assert f"changed  {PROVENANCE}: it is not the statement that {ENVELOPE} holds" in done.out
    assert "changed  model.onnx: SHA-256 " in done.out
    done = compress("verify", signed, "--no-run")
    assert (done.code, done.out.splitlines()[0].startswith(f"changed  {PROVENANCE}: ")) == (2, True)
    (signed / ENVELOPE).unlink()
    assert compress("verify", signed, "--no-run").code == 0


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("", "content"),
        ("[" * 100_000, "content"),
        ('{"payload": "", "payloadType": "text/plain", "signatures": []}', "payloadType"),
        ('{"payload": "", "payloadType": "application/vnd.in-toto+json", "signatures": []}', "signatures"),
        ('{"payload": "=", "payloadType": "application/vnd.in-toto+json", "signatures": [{"sig": ""}]}', "payload"),
    ],
)
def test_an_envelope_that_is_none_is_named(compress: Compress, signed: Path, content: str, word: str) -> None:
    (signed / ENVELOPE).write_text(content)
    done = compress("verify", signed, "--key", "key.pub.pem", "--no-run")
    assert done.code == 2
    assert done.out.startswith("changed  ")
    assert f"is no DSSE envelope: {word}" in done.out
    assert compress("verify", signed, "--no-run").out == done.out


def test_two_people_sign_and_each_is_found(compress: Compress, signed: Path) -> None:
    compress("sign", "--new-key", "other.pem")
    for _ in range(2):
        assert compress("sign", signed, "--key", "other.pem").code == 0
    assert len(json.loads((signed / ENVELOPE).read_text())["signatures"]) == 2
    for key in ("key.pub.pem", "other.pub.pem"):
        assert compress("verify", signed, "--key", key, "--no-run").code == 0


def test_what_is_not_as_the_run_left_it_is_not_signed(compress: Compress, results: Path) -> None:
    change_a_byte(results / "model.onnx")
    done = compress("sign", results, "--new-key", "key.pem")
    assert (done.code, "is not what the run left: model.onnx" in done.err) == (2, True)
    assert not (results / ENVELOPE).exists()


def test_a_signature_of_another_statement_is_not_added_to(compress: Compress, signed: Path) -> None:
    statement = json.loads((signed / PROVENANCE).read_text())
    (signed / PROVENANCE).write_text(json.dumps(statement))
    done = compress("sign", signed, "--key", "key.pem")
    assert (done.code, "is a signature of another statement" in done.err) == (2, True)


def test_a_new_key_is_its_owners_alone_and_never_overwrites(compress: Compress, project: Path) -> None:
    done = compress("sign", "--new-key", "key.pem")
    assert done.code == 0
    assert "private key key.pem, yours alone; public key key.pub.pem" in done.out
    assert stat.S_IMODE(Path("key.pem").stat().st_mode) == 0o600
    private = load_pem_private_key(Path("key.pem").read_bytes(), None)
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert Path("key.pub.pem").read_bytes() == public
    before = Path("key.pem").read_bytes()
    done = compress("sign", "--new-key", "key.pem")
    assert (done.code, "is there already" in done.err, Path("key.pem").read_bytes() == before) == (2, True, True)
    Path("key.pem").unlink()
    assert "key.pub.pem is there already" in compress("sign", "--new-key", "key.pem").err
    assert not Path("key.pem").exists()
    assert "cannot write" in compress("sign", "--new-key", "nowhere/key.pem").err


def test_an_encrypted_key_needs_its_passphrase(
    compress: Compress, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSPHRASE, "correct horse")
    assert compress("sign", "--new-key", "key.pem").code == 0
    assert b"ENCRYPTED" in Path("key.pem").read_bytes()
    assert compress("sign", results, "--key", "key.pem").code == 0
    monkeypatch.setenv(PASSPHRASE, "wrong")
    assert f"is the passphrase in {PASSPHRASE} right?" in compress("sign", results, "--key", "key.pem").err
    monkeypatch.delenv(PASSPHRASE)
    done = compress("sign", results, "--key", "key.pem")
    assert (done.code, f"put its passphrase into {PASSPHRASE}" in done.err) == (2, True)
    assert compress("verify", results, "--key", "key.pub.pem", "--no-run").code == 0


def test_a_passphrase_that_is_not_needed_does_no_harm(
    compress: Compress, signed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSPHRASE, "of another key")
    assert compress("sign", signed, "--key", "key.pem").code == 0


def test_other_files_in_the_place_of_a_key_are_said(compress: Compress, signed: Path) -> None:
    Path("text.pem").write_text("not a key")
    curve = ec.generate_private_key(ec.SECP256R1())
    Path("curve.pem").write_bytes(curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = curve.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    Path("curve.pub.pem").write_bytes(public)
    for key, word in (
        ("missing.pem", "cannot read missing.pem"),
        ("text.pem", "text.pem cannot be read as a key in PEM"),
        ("curve.pem", "curve.pem is no Ed25519 key"),
        ("key.pub.pem", "key.pub.pem is a public key"),
    ):
        done = compress("sign", signed, "--key", key)
        assert done.code == 2
        assert word in done.err
    for key, word in (
        ("missing.pem", "cannot read missing.pem"),
        ("text.pem", "text.pem cannot be read as a key in PEM"),
        ("curve.pub.pem", "curve.pub.pem is no Ed25519 key"),
        ("key.pem", "key.pem is a private key"),
    ):
        done = compress("verify", signed, "--key", key)
        assert done.code == 2
        assert word in done.err


def test_a_private_key_that_is_not_that_of_the_public_key_beside_it_signs_nothing(
    compress: Compress, signed: Path
) -> None:
    before = (signed / ENVELOPE).read_bytes()
    compress("sign", "--new-key", "other.pem")
    shutil.copy("other.pem", "key.pem")
    done = compress("sign", signed, "--key", "key.pem")
    assert (done.code, "key.pem is not the private key of key.pub.pem" in done.err) == (2, True)
    assert (signed / ENVELOPE).read_bytes() == before
    Path("key.pub.pem").write_text("ssh-ed25519 AAAA of another tool")
    assert compress("sign", signed, "--key", "key.pem").code == 0


def test_a_new_private_key_is_not_put_into_what_is_given_away(compress: Compress, results: Path) -> None:
    done = compress("sign", results, "--new-key", results / "engine" / "key.pem")
    assert (done.code, "would lie in" in done.err) == (2, True)
    assert not list(results.rglob("*.pem"))


def test_a_folder_that_cannot_be_written_to_is_said(
    compress: Compress, signed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("compress.evidence.envelope.write_atomically", refuse)
    done = compress("sign", signed, "--key", "key.pem")
    assert (done.code, f"{ENVELOPE}: Permission denied" in done.err) == (2, True)
    assert "hint: check the permissions of the folder" in done.err


def test_what_cannot_be_read_is_said(compress: Compress, signed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == PROVENANCE:
            raise PermissionError(errno.EACCES, "Permission denied")
        return read(path)

    with monkeypatch.context() as unreadable:
        unreadable.setattr(Path, "read_bytes", refuse)
        for flags in ((), ("--key", "key.pub.pem")):
            done = compress("verify", signed, "--no-run", *flags)
            assert (done.code, f"{PROVENANCE}: Permission denied" in done.err) == (2, True)
    monkeypatch.setattr("os.access", lambda *_: False)
    for command in (("verify", signed), ("sign", signed, "--key", "key.pem")):
        done = compress(*command)
        assert (done.code, f"cannot read {signed}: Permission denied" in done.err) == (2, True)


def test_a_key_that_others_may_read_is_warned_of(compress: Compress, signed: Path) -> None:
    assert compress("sign", signed, "--key", "key.pem").err == ""
    Path("key.pem").chmod(0o644)
    assert "warning: others may read key.pem: chmod 600 key.pem" in compress("sign", signed, "--key", "key.pem").err


def test_nothing_to_sign_and_no_key_are_usage_errors(compress: Compress, project: Path) -> None:
    assert compress("sign", "somewhere").code == 2
    compress("sign", "--new-key", "key.pem")
    assert "nothing to sign" in compress("sign", "--key", "key.pem").err
    assert "is not a folder" in compress("sign", "nowhere", "--key", "key.pem").err


def test_a_new_run_removes_the_signature_of_the_one_before(compress: Compress, signed: Path) -> None:
    (signed / "report.old.md").write_text("mine")
    flags = ("--max-drop", "5", "--latency-seconds", "0.1")
    assert compress("run", "model.onnx", "--target", "reference/board.toml", *flags).code == 0
    assert not (signed / ENVELOPE).exists()
    assert (signed / "report.old.md").read_text() == "mine"


def test_what_a_board_left_in_its_kit_is_new_and_nothing_wrong(compress: Compress, signed: Path) -> None:
    (signed / "engine" / "board" / "board-report.json").write_text("{}")
    done = compress("verify", signed, "--key", "key.pub.pem", "--no-run")
    assert done.code == 0
    assert "new      engine/board/board-report.json: what a board measured after the run" in done.out
    (signed / "board-report.json").write_text("{}")
    done = compress("verify", signed, "--key", "key.pub.pem", "--no-run")
    assert (done.code, "extra    board-report.json" in done.out) == (2, True)
