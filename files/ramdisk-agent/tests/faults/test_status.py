"""`stiefel-agent status` in a real session: laptop and target say the same of it."""

import json

from nbd_kernel import Load
from waiting import wait_for


def status(machine, *options):
    return machine.run("stiefel-agent", "status", *options)


def says(machine, text):
    wait_for(lambda: text in status(machine), f"{machine.name} says {text!r}")


def test_server_and_target_say_how_the_session_does(bench):
    laptop, desktop = bench.laptop(), bench.desktop("tower")
    assert "waits for a desktop" in status(laptop)
    with Load(desktop.boots()) as load:
        served = json.loads(status(laptop, "--json"))
        assert (served["role"], served["peer"]) == ("server", "tower")
        assert served["written_bytes"] > 0
        bench.cable.cut(desktop)
        says(desktop, "no cable leads to the laptop")
        bench.cable.join(desktop)
        load.goes_on()
        says(desktop, "runs from the laptop's disk")
    attached = json.loads(status(desktop, "--json"))
    assert (attached["role"], attached["reconnects"]) == ("target", 1)
    assert [one["name"] for one in attached["links"]] == ["stiefellink"]
    assert attached["links"][0]["carrier"]
    assert attached["written_bytes"] > 0
