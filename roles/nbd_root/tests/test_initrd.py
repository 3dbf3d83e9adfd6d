"""The target's initrd as the real tools build it. The laptops are made up after real ones: see each test's source."""

import re

import pytest

UUID = "11111111-2222-3333-4444-555555555555"
# As Debian's guided "encrypted LVM" has it, with a TPM and a keyscript that somebody has added; and a second volume
# whose key lies in the first one.
CRYPTTAB = """\
nvme0n1p3_crypt /dev/nvme0n1p3 none luks,discard,tpm2-device=auto,keyscript=/usr/local/sbin/from-tpm,x-initrd.attach
data UUID=22222222-2222-3333-4444-555555555555 /etc/keys/data.key luks,initramfs
"""
TREE = f"""\
{{"blockdevices": [{{"name": "debian--vg-root", "type": "lvm", "uuid": "3a", "children": [
  {{"name": "nvme0n1p3_crypt", "type": "crypt", "uuid": "4b", "children": [
    {{"name": "nvme0n1p3", "type": "part", "uuid": "{UUID}", "children": [
      {{"name": "nvme0n1", "type": "disk"}}]}}]}}]}}]}}
"""
HOOK = """\
#!/bin/sh
[ "$1" = prereqs ] && exit 0
. /usr/share/initramfs-tools/hook-functions
copy_exec /usr/bin/sha512sum /bin/my-tool
"""
IMAGE = '"/var/lib/stiefel/target/initrd.img-$(ls /lib/modules)"'
UNPACK = f"""
unmkinitramfs {IMAGE} /tmp/parts; mkdir /unpacked
for part in early early2 main; do [ ! -d /tmp/parts/$part ] || cp -a /tmp/parts/$part/. /unpacked; done
[ -d /unpacked/usr ] || cp -a /tmp/parts/. /unpacked
"""


def encrypt(laptop):
    """Let / of the laptop lie on LVM on LUKS: what findmnt and lsblk would say there."""
    laptop.write("etc/crypttab", CRYPTTAB)
    laptop.write("etc/keys/data.key", "secret")
    laptop.write("usr/local/sbin/from-tpm", "#!/bin/sh\necho secret\n", 0o755)
    laptop.write("usr/bin/findmnt", "#!/bin/sh\necho /dev/mapper/debian--vg-root\n", 0o755)
    laptop.write("usr/bin/lsblk", f"#!/bin/sh\ncat <<'EOF'\n{TREE}EOF\n", 0o755)


def add_to_initramfs(laptop):
    """What its owner has added in the documented ways (initramfs-tools(7))."""
    laptop.write("etc/initramfs-tools/modules", "i915\n")
    laptop.write("etc/initramfs-tools/hooks/mine", HOOK, 0o755)
    laptop.write("etc/initramfs-tools/conf.d/driver-policy", "MODULES=dep\n")


def add_realtek_drivers(laptop):
    """Debian's r8168-dkms and the settings of Realtek's own installer (awesometic/realtek-r8125-dkms#17)."""
    laptop.write("etc/modprobe.d/r8168-dkms.conf", "alias\tpci:v000010ECd00008168sv*sd*bc*sc*i*\t\tr8168\n")
    laptop.write("etc/modprobe.d/r8125.conf", "blacklist r8169\nblacklist pcspkr\n")
    laptop.write("etc/modprobe.d/gone.conf", "alias pci:v000010ECd00008125sv*sd*bc*sc*i* r8125\n")
    done = laptop.run("""
        modules=/lib/modules/$(ls /lib/modules); mkdir -p $modules/updates/dkms
        cp $modules/kernel/drivers/net/ethernet/realtek/r8169.ko.xz $modules/updates/dkms/r8168.ko.xz
        depmod "$(ls /lib/modules)"
        """)
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def laptop(new_laptop):
    """A laptop with everything at once, and the target's initrd built on it."""
    made = new_laptop()
    encrypt(made)
    add_to_initramfs(made)
    add_realtek_drivers(made)
    built = made.build()
    assert built.returncode == 0, built.stdout
    made.write("built", built.stdout)
    unpacked = made.run(UNPACK)
    assert unpacked.returncode == 0, unpacked.stdout
    return made


@pytest.fixture(scope="module")
def initrd(laptop):
    return laptop.changed / "unpacked"


def modules(initrd):
    return {path.name.partition(".ko")[0] for path in (initrd / "usr/lib/modules").rglob("*.ko*")}


@pytest.mark.fault("F43")
def test_the_passphrase_is_asked_for_at_once_and_again(initrd):
    """F43: neither TPM nor keyscript; the volume is found by what it is, not by the laptop's name for its disk."""
    assert (initrd / "cryptroot/crypttab").read_text() == f"nvme0n1p3_crypt UUID={UUID} none luks,discard,tries=0\n"
    assert (initrd / "usr/lib/cryptsetup/askpass").exists()


def test_no_key_of_the_laptop_is_in_it(laptop, initrd):
    assert not list(initrd.rglob("*.key"))
    assert "data is not opened in the initrd" in (laptop.changed / "built").read_text()


@pytest.mark.fault("F33")
def test_nothing_but_the_firmwares_picture_is_on_the_screen(initrd):
    """F33: no splash over the prompt, no graphics driver but the one that the laptop's owner has asked for."""
    assert not list(initrd.rglob("*/plymouth*/*.so")) + list(initrd.rglob("scripts/*/plymouth"))
    assert {"nouveau", "amdgpu", "radeon", "bochs"}.isdisjoint(modules(initrd))


def test_what_the_owner_has_added_to_the_laptops_initramfs_is_in_it(initrd):
    assert {"i915", "drm"} <= modules(initrd)
    assert (initrd / "usr/bin/my-tool").exists()


DISKS_OF_ITS_OWN = {"nvme", "ahci", "ata_piix", "sdhci-pci", "mpt3sas", "virtio_blk", "virtio_scsi"}


@pytest.mark.fault("F22")
def test_its_drivers_are_not_only_this_machines(initrd):
    assert {"nbd", "wireguard", "e1000e", "igb", "r8152", "usbhid", "usb-storage", "uas", "sd_mod"} <= modules(initrd)


@pytest.mark.fault("F40")
def test_it_has_no_driver_for_a_desktops_own_disks(initrd):
    """The running system has them: a fifth less to carry over the cable, to check and to unpack."""
    assert DISKS_OF_ITS_OWN.isdisjoint(modules(initrd))


@pytest.mark.parametrize(
    ("card", "driver"),
    [
        ("pci:v000010ECd00008168sv00001043sd00008677bc02sc00i00", {"r8168", "r8169"}),
        ("pci:v000010ECd00008125sv00001462sd00007D25bc02sc00i00", {"r8169"}),
    ],
)
def test_no_setting_of_the_laptop_keeps_a_desktops_adapter_from_its_driver(laptop, card, driver):
    version = next((laptop.changed / "unpacked/usr/lib/modules").iterdir()).name
    done = laptop.run(f"chroot /unpacked /sbin/modprobe -S {version} --use-blacklist --show-depends {card}")
    assert driver & set(re.findall(r"/(r81\w+)\.ko", done.stdout)), done.stdout


def test_other_settings_of_the_laptop_stay(initrd, laptop):
    assert "blacklist pcspkr" in (initrd / "etc/modprobe.d/r8125.conf").read_text()
    assert "blacklist r8169" in (laptop.changed / "built").read_text()


@pytest.mark.fault("F20", "F40")
def test_lvm_sees_the_laptops_disk_only(laptop):
    """Case: the desktop's disk holds a volume group of the same name (canonical/subiquity#904)."""
    done = laptop.run("""
        laptop=$(mktemp) desktop=$(mktemp); truncate -s 64M $laptop $desktop
        first=7:200 second=7:201
        mknod /dev/loop200 b 7 200; mknod /dev/loop201 b 7 201; mknod /dev/loop-control c 10 237
        losetup /dev/loop200 $laptop; losetup /dev/loop201 $desktop; trap 'losetup -d /dev/loop200 /dev/loop201' EXIT
        export LVM_SUPPRESS_FD_WARNINGS=1 DM_DISABLE_UDEV=1
        for disk in 200 201; do lvm vgcreate -qq --devices /dev/loop$disk debian-vg /dev/loop$disk; done >/dev/null 2>&1
        # What the target calls them.
        mv /dev/loop200 /dev/nbd0p3; mv /dev/loop201 /dev/sda3
        lvm pvs --devicesfile "" -o pv_name --noheadings 2>/dev/null | sed 's/^ */all: /'
        LVM_SYSTEM_DIR=/unpacked/etc/lvm lvm pvs -o pv_name --noheadings 2>/dev/null | sed 's/^ */target: /'
        mv /dev/nbd0p3 /dev/loop200; mv /dev/sda3 /dev/loop201
        """)
    assert sorted(re.findall(r"^\w+: \S+", done.stdout, re.MULTILINE)) == [
        "all: /dev/nbd0p3", "all: /dev/sda3", "target: /dev/nbd0p3",
    ], done.stdout  # fmt: skip


ON_A_DESKTOP_WITH_EFI = """
# What the initrd's script meets: a target's command line, EFI variables, and an attach that works.
mkdir -p unpacked/dev unpacked/proc unpacked/sys unpacked/conf; mount --bind /dev unpacked/dev
mount -t proc proc unpacked/proc; mount -t tmpfs tmpfs unpacked/sys
mkdir -p unpacked/sys/firmware/efi/efivars; echo 8 >unpacked/sys/firmware/efi/efivars/BootOrder
echo "root=UUID=1 stiefel.role=$1" >/tmp/cmdline; mount --bind /tmp/cmdline unpacked/proc/cmdline
echo >/tmp/attach; chmod +x /tmp/attach; mount --bind /tmp/attach unpacked/usr/lib/stiefel/attach
chroot unpacked sh /scripts/init-premount/stiefel || true
chroot unpacked modprobe --dry-run --verbose efivarfs || true
cd unpacked/sys/firmware/efi/efivars; ls; touch new 2>&1 || true
"""


@pytest.mark.fault("F39")
def test_a_target_sees_none_of_the_desktops_efi_variables(laptop):
    """F39: systemd mounts them nowhere where something is mounted already (its mount-setup.c)."""
    done = laptop.run(f"cd /; set -- target\n{ON_A_DESKTOP_WITH_EFI}").stdout
    assert "BootOrder" not in done, done
    assert "Read-only file system" in done, done
    # mdadm's hook and script (Debian's 4.4): `if ! ls efivars/*`, then `mount -t efivarfs`.
    assert "README" in done, done
    assert "install /bin/false" in done, done


@pytest.mark.fault("F40")
def test_the_rules_about_disks_are_in_the_initrd_and_udev_understands_them(initrd, laptop):
    """F40: already the search for root must not find the desktop's disk."""
    rules = {path.name for path in (initrd / "usr/lib/udev/rules.d").glob("59-stiefel-*")}
    assert rules == {"59-stiefel-desktop-disks.rules", "59-stiefel-laptop-disk.rules"}
    done = laptop.run("udevadm verify --no-style /usr/lib/udev/rules.d/59-stiefel-*.rules")
    assert done.returncode == 0, done.stdout


DISKS = """
cat >/tmp/disks <<'END'
P: /devices/pci0000:00/0000:00:1f.2
E: SUBSYSTEM=pci

P: /devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0
E: SUBSYSTEM=scsi
A: delete=not asked

P: /devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda
E: DEVTYPE=disk
E: SUBSYSTEM=block
A: removable=0
L: device=../../../0:0:0:0

P: /devices/pci0000:00/0000:01:00.0
E: SUBSYSTEM=pci
A: remove=not asked

P: /devices/pci0000:00/0000:01:00.0/nvme/nvme0
E: SUBSYSTEM=nvme
L: device=../../../0000:01:00.0

P: /devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1
E: DEVTYPE=disk
E: SUBSYSTEM=block
A: removable=0
L: device=../../nvme0

P: /devices/pci0000:00/0000:00:14.0/usb1/1-1
E: SUBSYSTEM=usb

P: /devices/pci0000:00/0000:00:14.0/usb1/1-1/host1/target1:0:0/1:0:0:0
E: SUBSYSTEM=scsi
A: delete=not asked

P: /devices/pci0000:00/0000:00:14.0/usb1/1-1/host1/target1:0:0/1:0:0:0/block/sdb
E: DEVTYPE=disk
E: SUBSYSTEM=block
A: removable=0
L: device=../../../1:0:0:0
END
export SYSTEMD_PROC_CMDLINE="root=UUID=1 $0"
umockdev-run --device /tmp/disks -- sh -c '
    for disk in sda sdb nvme0n1; do
        udevadm test --action=add $(readlink -f /sys/class/block/$disk) 2>&1 | sed "s/^/$disk: /"
    done'
"""


@pytest.mark.fault("F40")
@pytest.mark.parametrize(("role", "gone"), [("stiefel.role=target", {"sda", "nvme0n1"}), ("quiet", set())])
def test_the_kernel_lets_go_of_a_desktops_own_disks_and_of_no_other(laptop, role, gone):
    """udev itself on devices that umockdev makes up; what it would write to sysfs it only says in a test."""
    if not laptop.run("command -v umockdev-run || true").stdout:
        pytest.skip("this root folder was made before umockdev came into it: remove it from the cache")
    said = laptop.run(DISKS.replace("$0", role)).stdout
    written = set(re.findall(r'^(\w+): .*(?:device/delete|device/device/remove)\}?.*"1"', said, re.MULTILINE))
    ignored = set(re.findall(r"^(\w+): .*UDISKS_IGNORE=1", said, re.MULTILINE))
    assert (written, ignored) == (gone, gone), said


WAIT_FOR_ROOT = """
cd /unpacked; . ./scripts/functions; . ./scripts/local; quiet=y; ROOTDELAY=; starttime=0; now=0
# The world: a clock that stands still but for sleep, and disks that people bring along.
_uptime() { echo $now; }
sleep() { now=$((now + $1)); }
wait_for_udev() { :; }
log_begin_msg() { :; }
log_end_msg() { :; }
panic() { echo "gave up after $now s"; exit; }
get_fstype() { echo ext4; }
resolve_device() { [ -e "$world/root" ] && echo /dev/root; }
clock() { sed "s,/sys/block,$world,g" usr/lib/stiefel/clock >$world/clock; . $world/clock; }
world=$(mktemp -d)
run_scripts() { # what init does with each folder of scripts: those that take their time, and its param.conf after each
    case $1 in
    */init-premount) now=$((now + 600)); mkdir $world/nbd0; echo 1 >$world/nbd0/pid ;;
    */local-block)
        tries=$((${tries:-0} + 1))
        [ $tries != 2 ] || { now=$((now + 120)); mkdir -p $world/dm-0/dm; echo CRYPT >$world/dm-0/dm/uuid; }
        [ $tries != ${found:-9} ] || touch $world/root
        ;;
    esac
    clock
}
run_scripts /scripts/init-premount
local_device_setup UUID=1 "root file system"
echo "found after $now s"
"""


@pytest.mark.fault("F48")
def test_waiting_for_a_person_is_not_charged_to_the_search_for_root(laptop):
    """F48: ten minutes for cable and laptop, two for a passphrase, and then still some seconds for LVM."""
    assert "found after 729 s" in laptop.run(WAIT_FOR_ROOT).stdout


def test_a_root_that_never_comes_is_given_up_all_the_same(laptop):
    said = laptop.run("found=1000\n" + WAIT_FOR_ROOT).stdout
    assert re.search(r"gave up after 7[45]\d s", said), said


def test_the_attach_script_starts_the_clock(initrd):
    """init reads /conf/param.conf after each script: initramfs-tools' own ORDER files say so."""
    assert "/usr/lib/stiefel/clock' >>/conf/param.conf" in (initrd / "scripts/init-premount/stiefel").read_text()
    order = (initrd / "scripts/init-premount/ORDER").read_text()
    assert order.index("/scripts/init-premount/stiefel") < order.index(". /conf/param.conf")


def test_a_kernel_without_nbd_is_refused_aloud_and_stays_to_be_built(new_laptop):
    """Case: Debian's -cloud kernels, Ubuntu's -kvm."""
    laptop = new_laptop()
    laptop.run("rm /lib/modules/*/kernel/drivers/block/nbd.ko*; depmod $(ls /lib/modules)")
    built = laptop.build()
    assert built.returncode != 0
    assert "cannot start this laptop's system on a desktop: it has no module nbd" in built.stdout
    stale = laptop.run("ls /lib/modules; /usr/lib/stiefel/build-target-initrd --stale").stdout.split()
    assert stale[0] == stale[1]


def test_an_encrypted_laptop_without_cryptsetup_in_its_initrd_is_refused_aloud(new_laptop):
    laptop = new_laptop()
    encrypt(laptop)
    laptop.run("rm /usr/share/initramfs-tools/hooks/crypt*")
    built = laptop.build()
    assert built.returncode != 0
    assert "Install cryptsetup-initramfs" in built.stdout


def test_a_hook_of_the_owner_that_cannot_be_taken_over_is_named(new_laptop):
    laptop = new_laptop()
    laptop.write("etc/initramfs-tools/hooks/broken", '#!/bin/sh\n[ "$1" = prereqs ] || exit 3\n', 0o755)
    built = laptop.build()
    assert built.returncode == 0, built.stdout
    assert "built without this laptop's own" in built.stdout
    assert "/etc/initramfs-tools/hooks" in built.stdout


@pytest.mark.fault("F38")
def test_the_laptops_own_initramfs_starts_the_laptop_even_when_made_on_a_desktop(new_laptop):
    """F38: MODULES=dep, and a kernel is upgraded in the target."""
    laptop = new_laptop()
    laptop.write("etc/initramfs-tools/conf.d/driver-policy", "MODULES=dep\n")
    made = laptop.run("""
        mkdir /run/stiefel; touch /run/stiefel/session.json
        mkinitramfs -o /tmp/own.img "$(ls /lib/modules)"; lsinitramfs /tmp/own.img
        """).stdout
    assert {"nvme", "ahci", "sd_mod", "usb-storage"} <= set(re.findall(r"/([\w-]+)\.ko", made))


@pytest.fixture(scope="module")
def dracut(new_laptop):
    """The same laptop with dracut, set up as Debian bug 1029324 and dracutdevs/dracut#2437 advise."""
    made = new_laptop("dracut")
    encrypt(made)
    made.write("etc/dracut.conf.d/10-mine.conf", 'hostonly="yes"\ninstall_items+=" /etc/keys/data.key /usr/bin/tac "\n')
    built = made.build()
    assert built.returncode == 0, built.stdout
    return made


def test_dracut_asks_for_the_passphrase_at_once_and_again(dracut):
    shown = dracut.run(f"lsinitrd -f etc/crypttab {IMAGE}").stdout
    assert f"nvme0n1p3_crypt UUID={UUID} none luks,discard,tries=0\n" in shown
    assert "data " not in shown


def test_dracut_brings_the_libraries_of_pythons_modules(new_laptop):
    """Without cryptsetup nobody else brought libffi: ctypes missed it, and the desktop's screen had a traceback."""
    made = new_laptop("dracut")
    made.run("rm -r /usr/lib/dracut/modules.d/*crypt* /usr/lib/dracut/modules.d/*pkcs11*")
    built = made.build()
    assert built.returncode == 0, built.stdout
    assert "/libffi.so" in made.run(f"lsinitrd {IMAGE}").stdout


def test_an_initrd_that_lacks_a_library_of_the_attach_script_is_refused_aloud(new_laptop):
    made = new_laptop("dracut")
    made.write("etc/dracut.conf.d/10-mine.conf", 'add_dracutmodules+=" thin "\n')
    module = 'check() { return 255; }\ninstall() { rm "$initdir"/usr/lib/*/libffi.so*; }\n'
    made.write("usr/lib/dracut/modules.d/99thin/module-setup.sh", module, 0o755)
    built = made.build()
    assert built.returncode != 0
    assert re.search(r"the attach script needs \S+/libffi\.so\.8, which is not in the initrd", built.stdout)


def test_dracut_takes_every_driver_and_no_graphics_over(dracut):
    files = dracut.run(f"lsinitrd {IMAGE}").stdout
    found = set(re.findall(r"/([\w-]+)\.ko", files))
    assert {"nbd", "wireguard", "e1000e", "r8152", "usb-storage", "dm-crypt"} <= found
    assert ({"i915", "nouveau", "bochs"} | DISKS_OF_ITS_OWN).isdisjoint(found)
    assert "plymouthd" not in files
    assert "/usr/bin/tac" in files or "usr/bin/tac" in files


@pytest.mark.fault("F38")
def test_dracut_makes_the_laptops_own_initramfs_for_the_laptop_even_on_a_desktop(dracut):
    made = dracut.run("""
        mkdir /run/stiefel; touch /run/stiefel/session.json; rm /etc/dracut.conf.d/*
        dracut --quiet --force --hostonly /tmp/own.img "$(ls /lib/modules)"; lsinitrd /tmp/own.img
        """).stdout
    assert {"nvme", "ahci", "sd_mod", "usb-storage"} <= set(re.findall(r"/([\w-]+)\.ko", made))


def test_the_attach_script_finds_all_it_needs_in_the_initrd(initrd, laptop):
    """A module or a shared library too few would be a traceback on the desktop's screen."""
    program = "import sys; sys.path.insert(0, '/usr/lib/stiefel'); import stiefel_agent.target.attach"
    done = laptop.run(f'chroot /unpacked /usr/bin/python3 -ISB -c "{program}"')
    assert done.returncode == 0, done.stdout
