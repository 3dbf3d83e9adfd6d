"""`stiefel-agent status` in a real session: laptop and target say the same of it."""

import json

from nbd_kernel import Load
from waiting import wait_for

from stiefel_agent.target.links import State


def status(machine, *options):
    return machine.run("stiefel-agent", "status", *options)


def test_server_and_target_say_how_the_session_does(bench):
    laptop, desktop = bench.laptop(), bench.desktop("tower")
    assert "waits for a desktop" in status(laptop)
    with Load(desktop.boots()) as load:
        served = json.loads(status(laptop, "--json"))
        assert (served["role"], served["peer"]) == ("server", "tower")
        assert served["written_bytes"] > 0
        bench.cable.cut(desktop)
        wait_for(lambda: desktop.notes().state is State.CUT, "the target misses its laptop")
        assert "no cable leads to the laptop" in status(desktop)
        bench.cable.join(desktop)
        load.goes_on()
        wait_for(lambda: desktop.notes().state is State.WELL, "the target has its laptop again")
        assert "runs from the laptop's disk" in status(desktop)
    attached = json.loads(status(desktop, "--json"))
    assert (attached["role"], attached["reconnects"]) == ("target", 1)
    assert [one["name"] for one in attached["links"]] == ["stiefellink"]
    assert attached["links"][0]["carrier"]
    assert attached["written_bytes"] > 0
