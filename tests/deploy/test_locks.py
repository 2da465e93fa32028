"""The check of the locks says what it should, and nothing of the committed ones."""

from deploy.locks import LOCKS, ROOT, complaints_about

GOOD = """\
numpy==2.4.6 ; python_full_version < '3.12' \\
    --hash=sha256:aa
    # via scipy
numpy==2.5.5 ; python_full_version >= '3.12' \\
    --hash=sha256:bb
sqlalchemy==2.1.9 \\
    --hash=sha256:cc
"""


def test_the_committed_locks_are_in_order():
    for lock, sources in LOCKS.items():
        texts = [(ROOT / source).read_text() for source in sources]
        assert complaints_about((ROOT / lock).read_text(), texts) == []


def test_what_is_asked_for_must_be_locked_to_an_admitted_version():
    assert complaints_about(GOOD, ["numpy>=2\nSQLAlchemy[asyncio]  # async"]) == []
    assert complaints_about(GOOD, ["scipy"]) == ["scipy is asked for, but not in the lock."]
    assert complaints_about(GOOD, ["numpy<2"]) == ["numpy<2 is asked for, but not in the lock."]


def test_an_entry_without_a_hash_and_an_address_are_refused():
    assert complaints_about("six==1.17.0\n", []) == ["six is locked without a hash."]
    assert complaints_about("--index-url https://here\n" + GOOD, []) == [
        "The lock names an address."
    ]
