"""Before either starts, the log and its witness know each other's keys."""

import pytest

from deploy import witnessing
from deploy.state import State
from services.witness.domain import trusted_logs
from shared.tlog.policies import Policy

URLS = {"audit": "http://127.0.0.1:8104", "witness": "http://127.0.0.1:8105"}


@pytest.fixture
def state(tmp_path, monkeypatch):
    for name in ("AUDIT_ORIGIN", "AUDIT_WITNESS_POLICY", "WITNESS_NAME", "WITNESS_LOGS"):
        monkeypatch.delenv(name, raising=False)
    made = State(tmp_path / "state")
    made.folder.mkdir()
    return made


def test_the_policy_asks_the_witness_and_the_witness_knows_the_log(state):
    witnessing.introduce(state, URLS)
    told = witnessing.settings(state, "audit") | witnessing.settings(state, "witness")
    policy = Policy.parse((state.folder / "witness-policy").read_text())
    assert told["AUDIT_WITNESS_POLICY"] == str(state.folder / "witness-policy")
    (log,) = policy.logs
    (witness,) = policy.witnesses.values()
    assert (log.key.name, log.url) == (told["AUDIT_ORIGIN"], URLS["audit"])
    assert (witness.key.name, witness.url) == (told["WITNESS_NAME"], URLS["witness"])
    assert policy.is_met([witness.key])
    assert not policy.is_met([])
    with open(told["WITNESS_LOGS"]) as logs:
        assert trusted_logs(logs.read()) == {log.key.name: (log.key,)}


def test_a_second_start_keeps_the_keys_and_takes_the_new_addresses(state):
    witnessing.introduce(state, URLS)
    first = (state.folder / "witness-policy").read_text()
    witnessing.introduce(state, {**URLS, "witness": "http://127.0.0.1:9999"})
    second = (state.folder / "witness-policy").read_text()
    assert second == first.replace(":8105", ":9999")


def test_the_key_of_a_log_that_was_signed_is_not_replaced(state):
    witnessing.introduce(state, URLS)
    audit = state.of("audit")
    before = (state.folder / "witness-policy").read_text()
    (audit / "checkpoint").write_text("signed")
    (audit / "log.key").unlink()
    witnessing.introduce(state, URLS)
    assert not (audit / "log.key").exists()
    assert (state.folder / "witness-policy").read_text() == before


def test_a_policy_of_ones_own_is_used(state, monkeypatch):
    monkeypatch.setenv("AUDIT_WITNESS_POLICY", "/etc/policy")
    assert witnessing.settings(state, "audit")["AUDIT_WITNESS_POLICY"] == "/etc/policy"
    assert witnessing.settings(state, "needs") == {}
