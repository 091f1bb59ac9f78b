"""The data directory of an earlier version, recorded as text by record_data.py, and restored from it here.

A folder holds store.sql (the store as SQL text), journal.hex (the journal's header and its open slots) and
expected.json (what that program reported about its teams, keys, usage and requests before it was killed).
"""
import json
import pathlib
import sqlite3
import struct

HERE = pathlib.Path(__file__).resolve().parent
HEADER_BYTES, SLOT_BYTES = 4096, 256
HEADER = struct.Struct("<8sIIQ")  # magic, version, bytes of a slot, slots


def write(folder, data):
    """The files that a killed cloud left in `data`, as text."""
    folder.mkdir(parents=True, exist_ok=True)
    store = sqlite3.connect(data / "penstock.db")
    lines = [f"PRAGMA {name}={store.execute(f'PRAGMA {name}').fetchone()[0]};" for name in ("user_version", "application_id")]
    (folder / "store.sql").write_text("\n".join([*lines, *store.iterdump()]) + "\n")
    store.close()
    journal = (data / "journal").read_bytes()
    magic, version, slot_bytes, slots = HEADER.unpack_from(journal)
    assert slot_bytes == SLOT_BYTES
    taken = [journal[at:at + SLOT_BYTES] for at in range(HEADER_BYTES, HEADER_BYTES + slots * SLOT_BYTES, SLOT_BYTES)]
    taken = [slot for slot in taken if any(slot[:8])]
    header = HEADER.pack(magic, version, slot_bytes, len(taken))
    (folder / "journal.hex").write_text("\n".join(block.hex() for block in [header, *taken]) + "\n")


def build(name, data):
    """Creates the directory again; returns the expected contents."""
    folder = HERE / name
    data.mkdir(parents=True, exist_ok=True)
    store = sqlite3.connect(data / "penstock.db")
    store.executescript("PRAGMA journal_mode=WAL;\n" + (folder / "store.sql").read_text())
    store.close()
    header, *slots = (bytes.fromhex(line) for line in (folder / "journal.hex").read_text().split())
    (data / "journal").write_bytes(header.ljust(HEADER_BYTES, b"\0") + b"".join(slots))
    expected = json.loads((folder / "expected.json").read_text())
    (data / "operator.key").write_text(expected["operator"] + "\n")
    (data / "operator.key").chmod(0o600)
    return expected
