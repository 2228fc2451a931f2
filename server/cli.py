"""The ``objection`` command. Each command ends with one line and a non-zero status when it cannot do what was asked."""

import json
import os
import signal
import sys
import time
import warnings
from contextlib import closing
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from server.cli_backup import backup, loss_in_words, migrate, restore, resume
from server.cli_common import (
    INVALID,
    MAX_FILE_BYTES,
    MAX_NAME,
    UNUSABLE,
    bounded,
    one_line,
    open_register_to_check,
    open_stored_register,
    printable,
    read_file,
    read_policy,
)
from server.cli_counts import campaigns, releases
from server.errors import Equivocation, ObjectionError, VerificationError

if TYPE_CHECKING:
    import threading

    from server.core.log_policies import LogPolicy
    from server.usecases.audit_log import Audit
    from server.usecases.verification_report import Report

_VERDICTS = {
    "valid": "VALID",
    "unpinned": "VALID, KEYS NOT PINNED: its parts fit together; whose they are, only you can tell",
    "invalid": "NOT VALID: do not rely on anything in it",
    "withdrawn": "GENUINE, BUT WITHDRAWN: the objection stands no more",
    "erased": "GENUINE, BUT ERASED: the register keeps no record of it",
}
_ASSURANCES = {
    "device": "a key in one browser",
    "work": "a key in one browser, and its computing time: dear to do in masses; nobody's identity",
}
_MARKS = {
    "passed": "✓ passed     ",
    "failed": "✗ FAILED     ",
    "not-checked": "· not checked",
    "not-present": "– not present",
}
_UNUSABLE = {"file_unrecognised": "NOT A PROOF", "file_resaved": "CHANGED COPY"}
_PRACTICE = "PRACTICE: this records no objection to Meta"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Proof of Objection: run a register, look after it, and verify proofs.

    Settings come from OBJECTION_… environment variables; docs/operating.md lists them.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # click knows what to do
    os.umask(0o077)  # what commands write is for this user alone, in whatever folder it lies
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal without ✓ must not end in a stack trace
            stream.reconfigure(errors="replace")


@main.command()
@click.argument("proofs", metavar="FILE|TOKEN...", nargs=-1, required=True)
@click.option("--policy", "policy_file", metavar="FILE", help="Trust the keys in this policy, not those in the bundle.")
@click.option("--status", "status_file", metavar="FILE", help="A newer status list than the one in the bundle.")
@click.option("--nonce", help="The nonce with which you asked the holder to present the token.")
@click.option("--audience", help="The name under which you asked; with --nonce.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON; for several proofs, a list.")
@one_line
def verify(
    *,
    proofs: tuple[str, ...],
    policy_file: str | None,
    status_file: str | None,
    nonce: str | None,
    audience: str | None,
    as_json: bool,
) -> None:
    """Verify proofs, offline.

    FILE is a certificate (.pdf), a bundle (.asice) or a file with a token; TOKEN is the token itself; - reads standard
    input.

    Prints each check with its outcome, and what the proof shows and does not show; of several proofs, one line each,
    and how many are valid. Exit status: 0 when everything present holds, nothing required is missing and the objection
    stood when its status was told; 1 when not; 2 when there is nothing to verify: the file cannot be read, is not a
    proof, or is a copy that some program has changed. Of several proofs, the highest.

    Without --policy all keys are taken from the bundle, those of log, witnesses and time authorities, too: the parts
    fit together, but whose they are is for you to check. A token alone always needs --policy.

    With --nonce and --audience the token must be a presentation, signed for you by its holder within the last minutes.

    \b
    objection verify proof.pdf
    objection verify --policy register.json *.asice
    objection verify --policy register.json - < token.txt
    """
    from server.core.presentations import Challenge
    from server.usecases.verify_bundle import verify_file

    warnings.simplefilter("ignore")  # libraries remark on hostile files to standard error; the report is what counts
    policy = read_policy(policy_file) if policy_file else None
    status = read_file(Path(status_file)) if status_file else None
    if (nonce is None) != (audience is None):
        raise click.UsageError("--nonce and --audience go together")
    now = int(time.time())
    asked = None if nonce is None or audience is None else Challenge(audience, nonce, now)
    found = _Found(len(proofs), as_json=as_json)
    for proof in proofs:
        try:
            report = verify_file(_read_proof(proof), policy=policy, now=now, status=status, asked=asked)
        except ObjectionError as error:
            found.add_unusable(proof, error)
        else:
            found.add(proof, report)
    found.close()
    sys.exit(found.exit_status)


@main.command()
@click.option("--practice", is_flag=True, help="Serve the practice page, and take objections from it.")
@one_line
def serve(practice: bool) -> None:
    """Run the register with gunicorn, until stopped.

    Needs no set-up: keys, database and evidence store are made in OBJECTION_DATA_DIR (.data) on the first start.
    """
    from server.settings import Settings

    root = Path(__file__).parent.parent
    environment = dict(os.environ) | ({"OBJECTION_PRACTICE": "on"} if practice else {})
    settings = Settings.from_env(environment)
    click.echo(f"Register   {settings.public_url}")
    click.echo(f"Data       {settings.data_dir}")
    if practice:
        built = root / "extension/.output/practice/chrome-mv3"
        if built.is_dir():
            click.echo(f"Extension  {built}")
            click.echo("           load it at chrome://extensions (Developer mode, Load unpacked), then open")
        click.echo(f"Practice   {settings.public_url}/practice")
    if settings.rate_limit_storage_url.startswith("memory://") and settings.workers > 1:
        click.echo(
            f"Limits     per process, of which there are {settings.workers}: together they allow as many times more"
        )
    sys.stdout.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # server/gunicorn_conf.py takes it from here
    os.chdir(root)  # gunicorn imports from the folder that it starts in first: ours, not the caller's
    arguments = ["gunicorn", "--config", "python:server.gunicorn_conf", "wsgi:application"]
    os.execve(sys.executable, [sys.executable, "-m", *arguments], environment | settings.paths())  # noqa: S606 (no shell)


@main.command()
@click.option("--until-eof", is_flag=True, hidden=True, help="Stop when standard input ends: gunicorn's conf wants it.")
@one_line
def worker(until_eof: bool) -> None:
    """Anchor the log, until stopped: witnesses cosign it, time authorities stamp it.

    `objection serve` starts one. Several may run: one works, the others wait for it to end.
    """
    import logging
    import threading

    from server.settings import Settings
    from server.worker import run_worker

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if until_eof:
        threading.Thread(target=_stop_at_eof, args=[stop], daemon=True).start()
    run_worker(Settings.from_env(os.environ), stop=stop, alone=not until_eof)


@main.command()
@click.option("--key", "key_file", required=True, metavar="FILE", help="The witness's key; made if it does not exist.")
@click.option("--name", required=True, help="The witness's name, for example witness.example.org.")
@click.option("--log", "logs", required=True, multiple=True, metavar="VKEY", help="A log to witness, by its key.")
@click.option("--state", required=True, metavar="FILE", help="Where to remember what was cosigned. Never to be lost.")
@click.option("--listen", default="127.0.0.1:8100", show_default=True, metavar="HOST:PORT")
@one_line
def witness(key_file: str, name: str, logs: tuple[str, ...], state: str, listen: str) -> None:
    """Run a witness for the logs of registers that somebody else runs, until stopped.

    It cosigns a log's checkpoint only when the log has done nothing but grow since the last one. Put a TLS proxy in
    front. `objection keys show` of the register prints the VKEY of its log; the line printed here is for its operator.
    """
    from server.core.notes import format_verifier_key, parse_verifier_key
    from server.witness import open_witness, serve_witness

    known = [parse_verifier_key(text) for text in logs]
    service = open_witness(Path(key_file), name=name, logs=known, state=Path(state))
    click.echo(f"witness {name} {format_verifier_key(service.verifier)}")
    sys.stdout.flush()
    serve_witness(service, listen=listen)


main.add_command(backup)
main.add_command(campaigns)
main.add_command(migrate)
main.add_command(releases)
main.add_command(restore)


@main.group()
def keys() -> None:
    """Show this register's public keys."""


@keys.command("show")
@one_line
def keys_show() -> None:
    """Print what the register should publish elsewhere, too: verifiers compare the policy's fingerprint."""
    from server.core.notes import format_verifier_key
    from server.core.policies import policy_fingerprint

    keyring = open_stored_register().keyring
    click.echo(f"policy      {policy_fingerprint(keyring.policy)}")
    for kid in keyring.issuer_keys:
        click.echo(f"issuer key  {kid}{'  (signs now)' if kid == keyring.issuer_kid else ''}")
    click.echo(f"log key     {format_verifier_key(keyring.log_verifier)}")
    click.echo(f"key-encryption key versions: {', '.join(map(str, sorted(keyring.key_encryption_keys)))}")


@keys.command("policy")
@one_line
def keys_policy() -> None:
    """Print the policy by which others verify this register's proofs (for `objection verify --policy`)."""
    from server.core.policies import format_trust_policy

    # Without a line end: `sha256sum` of what was saved is the fingerprint.
    click.echo(format_trust_policy(open_stored_register().keyring.policy), nl=False)


@main.group()
def log() -> None:
    """Look after the transparency log."""


log.add_command(resume)


@log.command("check")
@one_line
def log_check() -> None:
    """Derive every hash, tile and checkpoint anew from what is stored, and compare.

    Also compares records, sealed bytes, statuses and counts with what was written. Changes nothing, and may run beside
    the register. Exit status: 0 when everything fits; 1 when not, with a line for each finding; 2 when it could not be
    checked.
    """
    from server.usecases.check_log import check_log

    storage = open_register_to_check()
    with click.progressbar(
        length=1, label="entries and sealed bytes", file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:

        def progress(done: int, total: int) -> None:
            bar.length = max(total, 1)
            bar.update(done - bar.pos)

        with closing(storage):
            found = check_log(storage, progress=progress)
    click.echo(
        f"{found.entries} entries, {found.records} records, {found.tiles} tiles, {found.anchors} anchored checkpoints"
    )
    if found.erased:
        click.echo(f"{found.erased} entries of records that their holders had erased")
    if found.to_overwrite:
        click.echo(f"{found.to_overwrite} erased blob(s) that the worker has still to overwrite; nobody can open them")
    if found.orphaned_segments:
        click.echo(f"{found.orphaned_segments} segment(s) that no record names: left by a crash, sealed, harmless")
    for loss in found.losses:
        click.echo(f"! {loss_in_words(loss.size, loss.signed_size)}: the operator went on without them")
    for problem in found.problems:
        click.echo(printable(f"✗ {problem}"), err=True)
    if found.problems:
        sys.exit(INVALID)
    click.echo("✓ the log is consistent")


@log.command("audit")
@click.argument("url")
@click.option("--key", metavar="VKEY", help="The log's key, as `objection keys show` of its register prints it.")
@click.option("--policy", "policy_file", metavar="FILE", help="The register's policy, or a C2SP log policy.")
@click.option("--state", "state_file", metavar="FILE", help="Keeps the checkpoint; the next audit goes on there.")
@click.option("--timeout", "timeout_s", type=click.IntRange(1, 86_400), default=3600, show_default=True, metavar="S")
@one_line
def log_audit(url: str, key: str | None, policy_file: str | None, state_file: str | None, timeout_s: int) -> None:
    """Audit a log from outside, as anybody can: needs nothing but its address and key.

    Reads every entry since the last audit, derives each hash anew, compares tiles and checkpoint, and makes sure that
    the log has only grown. With a policy that names witnesses, their quorum must have cosigned, too.

    Exit status 1 when the log is caught at something, 2 when it could not be audited. FILE is replaced only after an
    audit without a finding.

    \b
    objection log audit https://register.example --key 'register.example/log+…' --state register.checkpoint
    """
    from time import monotonic

    from server.outside.log_reader import LogReader
    from server.usecases.audit_log import audit_log

    if (key is None) == (policy_file is None):
        raise click.UsageError("give either --key or --policy")
    policy = _read_log_policy(key, policy_file)
    state = Path(state_file) if state_file else None
    last_note = _read_text(state) if state and state.exists() else None
    reader = LogReader(url, deadline=monotonic() + timeout_s)
    with click.progressbar(length=1, label="entries", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:

        def progress(done: int, total: int) -> None:
            bar.length = max(total, 1)
            bar.update(done - bar.pos)

        try:
            found = audit_log(reader.read, policy=policy, last_note=last_note, progress=progress)
        except VerificationError as error:
            click.echo(printable(f"\n✗ {error.code}: {error}"), err=True)
            if isinstance(error, Equivocation):
                click.echo("The log signed both of these. Keep them: together they are the evidence.\n", err=True)
                click.echo("\n".join(error.notes), err=True)
            sys.exit(INVALID)
    if state:
        _replace_file(state, found.note)
    click.echo(_audit_as_text(found))


def _stop_at_eof(stop: "threading.Event") -> None:
    # Not sys.stdin: a thread that waits in its buffer makes Python abort when the process ends before.
    while os.read(0, 1024):
        pass
    stop.set()


def _read_proof(proof: str) -> bytes:
    if proof == "-":
        return bounded(sys.stdin.buffer.read(MAX_FILE_BYTES + 1))
    if proof.isascii() and proof.lstrip(" \t\n\r").startswith("ey") and "/" not in proof and len(proof) > MAX_NAME:
        return proof.encode()
    return read_file(Path(proof))


def _read_log_policy(key: str | None, policy_file: str | None) -> "LogPolicy":
    from server.core.log_policies import LogPolicy, parse_log_policy
    from server.core.notes import parse_verifier_key
    from server.core.policies import parse_trust_policy

    if policy_file is None:
        return LogPolicy(parse_verifier_key(key or ""))
    raw = read_file(Path(policy_file))
    if raw.lstrip().startswith(b"{"):
        return parse_trust_policy(raw).log
    return parse_log_policy(_read_text(Path(policy_file)))


def _read_text(path: Path) -> str:
    try:
        return read_file(path).decode()
    except UnicodeDecodeError as error:
        raise ObjectionError("file_unreadable", f"{str(path)[:MAX_NAME]}: not text in UTF-8") from error


def _replace_file(path: Path, text: str) -> None:
    """Put ``text`` in place of the file's content, whole or not at all."""
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with new.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise ObjectionError("file_unwritable", f"{str(path)[:MAX_NAME]}: {error.strerror}") from error


def _audit_as_text(found: "Audit") -> str:
    from server.bundles.readme import format_time

    checkpoint = found.checkpoint
    lines = [
        f"{checkpoint.origin}: {checkpoint.size} entries, root {checkpoint.root.hex()}",
        f"{found.new_entries} entries read; every hash, tile and the signed root follow from them",
    ]
    if found.last_seen:
        lines.append(f"it begins with the {found.last_seen.size} entries of the last audit")
    lines += [f"{name} cosigned {found.witnessed_size} entries at {format_time(at)}" for name, at in found.cosigned]
    return "\n".join(printable(line) for line in [*lines, "✓ the log is consistent"])


class _Found:
    """What came of the proofs, printed as it is found; ``count`` of them are expected."""

    def __init__(self, count: int, *, as_json: bool) -> None:
        self.exit_status = 0
        self._count, self._as_json = count, as_json
        self._valid = 0
        self._answers: list[dict[str, Any]] = []

    def add(self, proof: str, report: "Report") -> None:
        self.exit_status = max(self.exit_status, 0 if report.valid else INVALID)
        self._valid += report.valid
        if self._as_json:
            self._answers.append(self._named(proof) | report.as_json())
        elif self._count == 1:
            click.echo(_report_as_text(report))
        else:
            practice = f"{_PRACTICE}. " if report.facts.get("practice") else ""
            click.echo(f"{printable(_name_of(proof))}: {practice}{_VERDICTS[_headline(report)]}")

    def add_unusable(self, proof: str, error: ObjectionError) -> None:
        self.exit_status = UNUSABLE
        if self._as_json:
            self._answers.append(self._named(proof) | {"code": error.code, "detail": str(error)})
        if self._count == 1 or self._as_json:
            click.echo(printable(f"objection: {error.code}: {error}"), err=True)
        else:
            label = _UNUSABLE.get(error.code, "UNREADABLE")
            click.echo(f"{printable(_name_of(proof))}: {label}: {printable(str(error))}")

    def close(self) -> None:
        if self._as_json:
            click.echo(json.dumps(self._answers[0] if self._count == 1 else self._answers, indent=2))
        elif self._count > 1:
            click.echo(f"{self._valid} of {self._count} valid; the checks of one: objection verify FILE")

    def _named(self, proof: str) -> dict[str, str]:
        return {} if self._count == 1 else {"file": _name_of(proof)}


def _name_of(proof: str) -> str:
    """Return the file's name; of a token its beginning."""
    return proof if len(proof) <= MAX_NAME else f"{proof[:32]}…"


def _headline(report: "Report") -> str:
    return "unpinned" if report.valid and report.facts["keys_from"] == "bundle" else report.verdict


def _report_as_text(report: "Report") -> str:
    lines = []
    for number, check in enumerate(report.checks, 1):
        lines.append(f"{number:>2}. {_MARKS[check.outcome]}  {check.title}")
        code = f" [{check.code}]" if check.code else ""
        lines.append(f"                    {check.reason}{code}")
    lines.append("")
    lines += _facts_as_text(report.facts)
    if report.facts.get("practice"):
        lines.append(_PRACTICE)
    lines.append(_VERDICTS[_headline(report)])
    if report.genuine:
        lines += ["", "It shows:", *(f"  - {sentence}" for sentence in report.shows)]
        lines += ["It does not show:", *(f"  - {sentence}" for sentence in report.does_not_show)]
    return "\n".join(printable(line) for line in lines)


def _facts_as_text(facts: dict[str, Any]) -> list[str]:
    from server.bundles.readme import format_time

    times = {
        "objected_at": "the holder's clock",
        "received_at": "the register's clock",
        "anchored_at": "no later than this, by an independent clock",
        "status_at": "when the register told the status",
    }
    lines = [f"{name:<16} {format_time(facts[name])} ({clock})" for name, clock in times.items() if name in facts]
    lines += [f"{'later':<16} {_later_as_text(each)}" for each in facts.get("later", [])]
    shown = (
        "state",
        "status",
        "platform",
        "right",
        "issuer",
        "log_origin",
        "log_index",
        "holder_key",
        "receipt_sha256",
        "keys_from",
    )
    lines += [f"{name:<16} {facts[name]}" for name in shown if name in facts]
    if assurance := facts.get("assurance"):
        lines.append(f"{'assurance':<16} {assurance} ({_ASSURANCES[assurance]})")
    lines += [
        f"{name:<16} {value} (declared by the holder, not verified)"
        for name, value in facts.get("disclosed", {}).items()
    ]
    return [*lines, ""] if lines else []


def _later_as_text(fact: dict[str, Any]) -> str:
    from server.bundles.readme import format_time

    state = f"anchored, no later than {format_time(fact['anchored_at'])}" if "anchored_at" in fact else "recorded"
    return f"{fact['kind']}, {format_time(fact['received_at'])} (the register's clock): {state}"


if __name__ == "__main__":
    main()
