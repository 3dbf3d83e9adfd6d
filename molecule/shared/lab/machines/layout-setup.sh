#!/bin/sh
# Moves the lab's laptop onto another layout: layout_image.py runs it inside a copy of the plain laptop's root folder.
# Environment: INITRAMFS, LOADER (grub, or kernel-install's word for systemd-boot's layout: bls, uki), PACKAGES, FSTAB,
# CRYPTTAB (as in the initramfs), CRYPTTAB_KEPT (as on the laptop), ROOT_DEVICE, ROOT_UUID, ROOT_TYPE (mkfs's word),
# GRUB_FS (GRUB's word), ABSTRACTION (GRUB's word, may be empty), BOOT_UUID (where /boot is), SUBVOLUME (of / within
# its filesystem, may be empty), KERNEL_ARGS.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

write() { # write FILE: standard input becomes the file
    mkdir -p "$(dirname "$1")"
    cat > "$1"
}

if [ "$LOADER" != grub ]; then
    # The EFI system partition is a folder yet: bootctl and kernel-install want a filesystem of its own.
    export SYSTEMD_ESP_PATH=/boot/efi SYSTEMD_RELAX_ESP_CHECKS=1
    mount -t tmpfs esp /boot/efi
    echo "root=UUID=$ROOT_UUID ro $KERNEL_ARGS" | write /etc/kernel/cmdline
    echo "layout=$LOADER" | write /etc/kernel/install.conf
fi
apt-get -qq update
# shellcheck disable=SC2086 # a list of words
INITRD=No apt-get -qq install --no-install-recommends $PACKAGES
apt-get clean
case " $PACKAGES " in *' ufw '*)
    ufw allow 22/tcp
    ufw allow 61570/udp
    sed -i 's/^ENABLED=.*/ENABLED=yes/' /etc/ufw/ufw.conf
    ;;
esac
echo "$FSTAB" | write /etc/fstab
echo "$CRYPTTAB" | write /etc/crypttab
# GRUB has a driver of its own for QEMU's graphics card. It would switch it behind the firmware's back, and the first console,
# where the passphrase is asked for, would draw rows of another length.
write /etc/default/grub.d/layout.cfg <<EOF
GRUB_CMDLINE_LINUX="$KERNEL_ARGS"
GRUB_TERMINAL=console
EOF

# Its disk does not exist yet. Who looks for the root filesystem finds an empty one of the same type and UUID.
for link in "$ROOT_DEVICE" "/dev/disk/by-uuid/$ROOT_UUID"; do
    mkdir -p "$(dirname "$link")"
    case $ROOT_TYPE in
        ext4) mke2fs -q -t ext4 -U "$ROOT_UUID" "$link" 1M ;;
        xfs) truncate -s 512M "$link" && mkfs.xfs -q -m "uuid=$ROOT_UUID" "$link" ;;
        btrfs) truncate -s 128M "$link" && mkfs.btrfs -q -U "$ROOT_UUID" "$link" ;;
    esac
done
case $INITRAMFS in
    initramfs-tools) update-initramfs -u -k all ;;
    dracut)
        # With --no-hostonly dracut leaves it out, and opens the disk by another name than the running system does.
        [ -z "$CRYPTTAB" ] || echo 'install_items+=" /etc/crypttab "' | write /etc/dracut.conf.d/layout.conf
        case $CRYPTTAB in *tpm2-device*)
            echo 'add_dracutmodules+=" tpm2-tss "' | write /etc/dracut.conf.d/tpm.conf
            ;;
        esac
        dracut --regenerate-all --force --no-hostonly
        ;;
esac
echo "$CRYPTTAB_KEPT" | write /etc/crypttab

install_grub() {
    # update-grub asks about the disk below the filesystem: answer for it, this once.
    for tool in grub-probe grub-mkrelpath; do
        path=$(command -v "$tool")
        mv "$path" "$path.real"
    done
    write /usr/sbin/grub-probe <<EOF
#!/bin/sh
case "\$*" in
    *=device*/boot*) [ "$BOOT_UUID" = "$ROOT_UUID" ] && echo $ROOT_DEVICE || echo /dev/disk/by-uuid/$BOOT_UUID ;;
    *=device*) echo $ROOT_DEVICE ;;
    *=abstraction*) echo $ABSTRACTION ;;
    *$ROOT_DEVICE*=fs_uuid*) echo $ROOT_UUID ;;
    *=fs_uuid*) echo $BOOT_UUID ;;
    *=fs*) echo $GRUB_FS ;;
    *=partmap*) echo gpt ;;
    *) exit 1 ;;
esac
EOF
    write /usr/bin/grub-mkrelpath <<EOF
#!/bin/sh
for path; do :; done
path=\${path%/}
[ "$BOOT_UUID" = "$ROOT_UUID" ] || path=\${path#/boot}
echo "${SUBVOLUME:+/$SUBVOLUME}\$path"
EOF
    chmod 755 /usr/sbin/grub-probe /usr/bin/grub-mkrelpath
    update-grub
    mv /usr/sbin/grub-probe.real /usr/sbin/grub-probe
    mv /usr/bin/grub-mkrelpath.real /usr/bin/grub-mkrelpath
    prefix=${SUBVOLUME:+/$SUBVOLUME}/boot/grub
    [ "$BOOT_UUID" = "$ROOT_UUID" ] || prefix=/grub
    write /boot/efi/EFI/debian/grub.cfg <<EOF
search.fs_uuid $BOOT_UUID root
set prefix=(\$root)'$prefix'
configfile \$prefix/grub.cfg
EOF
}

leave_grub() { # systemd-boot's package and its hooks have put everything else in place
    # Debian protects a signed boot loader from being removed by mistake.
    apt-get -qq purge --allow-remove-essential \
        grub-efi-amd64 grub-efi-amd64-signed grub-efi-amd64-bin grub2-common grub-common shim-signed
    rm -rf /boot/grub
    cp -a /boot/efi /tmp/esp
    umount /boot/efi
    rm -rf /boot/efi
    mv /tmp/esp /boot/efi
}

case $LOADER in
    grub) install_grub ;;
    *) leave_grub ;;
esac
rm -rf /dev/disk /dev/mapper "$ROOT_DEVICE"
rm -f /etc/resolv.conf
