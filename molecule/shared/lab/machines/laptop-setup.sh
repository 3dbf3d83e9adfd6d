#!/bin/sh
# Turns a fresh debootstrap into the lab's laptop: image.py runs it inside, as root, in a mount namespace of its own.
# Environment: INITRAMFS (initramfs-tools | dracut), ROOT_UUID, ESP_UUID, SSH_KEY (public), MIRROR, RELEASE.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

write() { # write FILE: standard input becomes the file, folders included
    mkdir -p "$(dirname "$1")"
    cat > "$1"
}

write /etc/hostname <<EOF
stiefel-laptop
EOF
write /etc/hosts <<EOF
127.0.0.1 localhost
127.0.1.1 stiefel-laptop
::1 localhost ip6-localhost
EOF
write /etc/machine-id <<EOF
571efe1571efe1571efe1571efe1571e
EOF
write /etc/fstab <<EOF
UUID=$ROOT_UUID / ext4 errors=remount-ro 0 1
UUID=$ESP_UUID /boot/efi vfat umask=0077 0 2
EOF
write /etc/apt/sources.list <<EOF
deb $MIRROR $RELEASE main
EOF
# The disk is a file in a cache: sync would only cost time, documentation only space.
write /etc/dpkg/dpkg.cfg.d/lab <<EOF
force-unsafe-io
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
EOF
# On a busy machine without KVM it takes more than systemd's minute and a half until udev knows every partition.
write /etc/systemd/system.conf.d/lab.conf <<EOF
[Manager]
DefaultDeviceTimeoutSec=15min
EOF
# No quiet: the serial console is what the lab reads. A panic must end the machine, not hang it. Without norandmaps an emulator
# translates a library anew for each program that starts (docs/testing.md).
write /etc/default/grub.d/lab.cfg <<EOF
GRUB_CMDLINE_LINUX_DEFAULT=""
GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,115200 norandmaps panic=1 oops=panic"
GRUB_TIMEOUT=1
GRUB_DISABLE_OS_PROBER=true
EOF
echo 'grub-efi-amd64 grub2/update_nvram boolean false' | debconf-set-selections

# INITRD=No: the initramfs is made once, at the end, when everything it takes in is there.
INITRD=No apt-get -qq install --no-install-recommends \
    linux-image-amd64 "$INITRAMFS" zstd e2fsprogs dosfstools \
    grub-efi-amd64 grub-efi-amd64-signed shim-signed \
    systemd-sysv dbus libpam-systemd udev kmod iproute2 network-manager \
    openssh-server sudo python3 python3-apt ca-certificates

# The laptop's owner; the password is for a person at the (virtual) screen, ssh takes the lab's key only.
useradd --create-home --shell /bin/bash --groups sudo anna
echo 'anna:stiefel' | chpasswd
passwd --quiet --lock root
write /etc/sudoers.d/lab <<EOF
anna ALL=(ALL) NOPASSWD: ALL
EOF
write /home/anna/.ssh/authorized_keys <<EOF
$SSH_KEY
EOF
chown -R anna:anna /home/anna/.ssh
chmod 700 /home/anna/.ssh
write /etc/ssh/sshd_config.d/lab.conf <<EOF
PasswordAuthentication no
EOF
# Timers that would fight with a test for the package lock or the disk.
systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer man-db.timer fstrim.timer e2scrub_all.timer

# Its disk does not exist yet. Who looks for the root filesystem by its UUID finds an empty one of the same type.
root_device=/dev/disk/by-uuid/$ROOT_UUID
mkdir -p /dev/disk/by-uuid
mke2fs -q -t ext4 -U "$ROOT_UUID" "$root_device" 1M

case $INITRAMFS in
    initramfs-tools) update-initramfs -c -k all ;;
    dracut) dracut --regenerate-all --force --no-hostonly ;;
esac

# update-grub asks grub-probe about the disk below the filesystem: answer for it, this once.
mv /usr/sbin/grub-probe /usr/sbin/grub-probe.real
write /usr/sbin/grub-probe <<EOF
#!/bin/sh
case "\$*" in
    *=device*) echo $root_device ;;
    *=fs_uuid*) echo $ROOT_UUID ;;
    *=fs*) echo ext2 ;;
    *=partmap*) echo gpt ;;
    *) exit 1 ;;
esac
EOF
chmod 755 /usr/sbin/grub-probe
mkdir -p /boot/grub
update-grub
mv /usr/sbin/grub-probe.real /usr/sbin/grub-probe
rm -r /dev/disk

# The firmware's fallback path; shim looks for GRUB beside itself, Debian's GRUB for its settings in EFI/debian.
mkdir -p /boot/efi/EFI/BOOT /boot/efi/EFI/debian
cp /usr/lib/shim/shimx64.efi.signed /boot/efi/EFI/BOOT/BOOTX64.EFI
cp /usr/lib/shim/shimx64.efi.signed /boot/efi/EFI/debian/shimx64.efi
for folder in BOOT debian; do
    cp /usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed "/boot/efi/EFI/$folder/grubx64.efi"
done
write /boot/efi/EFI/debian/grub.cfg <<EOF
search.fs_uuid $ROOT_UUID root
set prefix=(\$root)'/boot/grub'
configfile \$prefix/grub.cfg
EOF
apt-get clean
rm /etc/resolv.conf # debootstrap's copy of the building machine's; NetworkManager writes the laptop's own
