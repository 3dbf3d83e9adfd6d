#!/bin/bash
# dracut module: the attach script of a Stiefelsystem target and what it needs.

# Only on request: the laptop's own initramfs stays as it is.
check() {
    return 255
}

depends() {
    echo rootfs-block
}

installkernel() {
    instmods nbd wireguard
}

install() {
    local path
    inst_multiple ip wg udevadm modprobe
    while read -r path; do
        inst "$path"
    done < <(/usr/lib/stiefel/initrd-files)
    inst /usr/lib/stiefel/attach
    # shellcheck disable=SC2154  # dracut sets moddir
    inst_hook initqueue/settled 10 "$moddir/stiefel-attach.sh"
    dracut_need_initqueue
}
