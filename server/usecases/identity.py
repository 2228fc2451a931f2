"""What a register is: its two names and its keys. Every start compares them with what the first one wrote down.

A register that goes on under another name, or with another key, refuses its own holders and cannot open its records.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from cryptography import x509
from sqlalchemy import Connection

from server.errors import OperatorError
from server.store.identity import insert_identity, read_identity
from server.usecases.keyring import Keyring

PUBLIC_URL = "OBJECTION_PUBLIC_URL"
_LOG_ORIGIN = "OBJECTION_LOG_ORIGIN"
_NOT_NEEDED = {"issuer-root.key"}  # its owner may keep it elsewhere
_WAY_OUT = "or name the OBJECTION_DATA_DIR and OBJECTION_DATABASE_URL that belong together"


def refuse_other_names(stored: Mapping[str, str], *, origin: str, public_url: str, log_origin: str) -> None:
    """Raises OperatorError ``names_changed`` when the settings name another register or log than the database.

    ``origin``: what the stored log is called.
    """
    changed = [
        f"{what} is called {was}, and {setting} says {says}"
        for what, was, setting, says in (
            ("this register", stored.get(PUBLIC_URL, public_url), PUBLIC_URL, public_url),
            ("its log", origin, f"{_LOG_ORIGIN} (by default the host of {PUBLIC_URL} + /log)", log_origin),
        )
        if was != says
    ]
    if changed:
        raise OperatorError(
            "names_changed",
            f"{'; '.join(changed)}; neither name can change: set what is stored, "
            "or give a new register its own OBJECTION_DATA_DIR and OBJECTION_DATABASE_URL",
        )


def refuse_other_keys(stored: Mapping[str, str], keyring: Keyring, *, folder: Path) -> None:
    """Raises OperatorError ``keys_missing`` or ``keys_changed`` that names the files which the database does not know;
    ``names_changed`` when the issuer's certificate is of another register."""
    if gone := [name for name in _lacking(stored, keyring) if name not in _NOT_NEEDED]:
        raise OperatorError(
            "keys_missing",
            f"{', '.join(gone)} {_is(gone)} not in {folder}, and this database was used with it: "
            f"take it from a backup of the keys, {_WAY_OUT}",
        )
    if changed := _changed(stored, keyring):
        told = ", ".join(
            f"{name} (its check value is {keyring.check_values[name][:8]}, stored is {stored[name][:8]})"
            for name in changed
        )
        raise OperatorError(
            "keys_changed",
            f"{told} in {folder} {_is(changed)} not what this database was used with: "
            f"take {'it' if len(changed) == 1 else 'them'} from a backup of the keys, {_WAY_OUT}",
        )
    for version, name in _certified_names(keyring):
        if name != keyring.issuer:
            raise OperatorError(
                "names_changed",
                f"{folder / version} was made for {name}, and {PUBLIC_URL} says {keyring.issuer}: set what it was "
                "made for, or give a new register its own OBJECTION_DATA_DIR",
            )


def keep_identity(connection: Connection, stored: Mapping[str, str], keyring: Keyring) -> None:
    """Remember what is not remembered yet: all at the first start, and a new version of a key at its first."""
    given = {PUBLIC_URL: keyring.issuer, **keyring.check_values}
    insert_identity(connection, {name: value for name, value in given.items() if name not in stored})


def compare_identity(connection: Connection, keyring: Keyring) -> Iterator[str]:
    """Yield a sentence for each name and key that is not what the database remembers. Changes nothing."""
    stored = read_identity(connection)
    if stored.get(PUBLIC_URL, keyring.issuer) != keyring.issuer:
        yield f"{PUBLIC_URL} says {keyring.issuer}, and this register is called {stored[PUBLIC_URL]}"
    for name in _changed(stored, keyring):
        yield f"{name} is not the key that this database was used with"
    for name in _lacking(stored, keyring):
        if name not in _NOT_NEEDED:
            yield f"{name} is missing, and this database was used with it"
    for name in sorted({PUBLIC_URL, *keyring.check_values} - stored.keys()):
        yield f"the database does not remember {name}: a start would write it down"


def _changed(stored: Mapping[str, str], keyring: Keyring) -> list[str]:
    return sorted(name for name, value in keyring.check_values.items() if stored.get(name, value) != value)


def _lacking(stored: Mapping[str, str], keyring: Keyring) -> list[str]:
    return sorted(stored.keys() - {PUBLIC_URL} - keyring.check_values.keys())


def _certified_names(keyring: Keyring) -> Iterator[tuple[str, str]]:
    """Yield the register's names in the issuer's certificates, with the file that has each."""
    for file, certificate in keyring.issuer_certificates.items():
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            continue
        yield from ((file, name) for name in names.get_values_for_type(x509.UniformResourceIdentifier))


def _is(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"
