#!/bin/sh
# In a target: attach the laptop's disk, once, as soon as udev has settled.

if getarg stiefel.role=target && [ ! -e /run/stiefel/session.json ]; then
    /usr/lib/stiefel/hide-firmware
    until /usr/lib/stiefel/attach; do
        emergency_shell -n stiefel "[stiefel] The laptop's disk is not attached. Leave this shell to try again."
    done
fi
