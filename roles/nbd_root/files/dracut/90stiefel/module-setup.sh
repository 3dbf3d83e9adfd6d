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
    # shellcheck disable=SC2046,SC2154  # a list of names; dracut sets kernel
    hostonly="" instmods $(/usr/lib/stiefel/adapt_initrd.py --own-drivers "$kernel")
}

install() {
    local files
    inst_multiple wg udevadm modprobe mount
    # dracut brings the libraries of what can be executed; Python's own modules cannot be, and need some, too.
    mapfile -t files < <(/usr/lib/stiefel/initrd-files; /usr/lib/stiefel/initrd-files --libraries)
    inst_multiple "${files[@]}"
    inst_multiple /usr/lib/stiefel/attach /usr/lib/stiefel/hide-firmware /usr/lib/udev/rules.d/59-stiefel-*.rules
    # shellcheck disable=SC2154  # dracut sets moddir and initdir
    inst_hook initqueue/settled 10 "$moddir/stiefel-attach.sh"
    dracut_need_initqueue
    # shellcheck disable=SC2154
    /usr/lib/stiefel/adapt_initrd.py "$initdir" "$kernel" || exit 1
}
