"""The target's initrd by mkinitcpio: our hooks under a stand-in for its documented interface, with a real kernel."""

import re

import pytest
from test_initrd import IMAGE, UUID, encrypt

# Arch's own of today, with what somebody has added in the documented ways.
CONFIG = """\
MODULES=(dm_snapshot)
HOOKS=(base systemd autodetect modconf kms keyboard sd-vconsole plymouth mine block sd-encrypt lvm2 filesystems)
"""
MINE = "build() { add_binary /usr/bin/tac; add_runscript; }\n"
ENCRYPT = "build() { add_module dm-crypt; add_binary cryptsetup; add_runscript; }\n"


def laptop_with(new_laptop, crypttab=""):
    """A laptop whose / lies on LVM on LUKS; at home the kernel's command line names the volume, or crypttab."""
    made = new_laptop("mkinitcpio")
    encrypt(made)
    made.write("etc/crypttab", crypttab)
    made.write("etc/mkinitcpio.conf", CONFIG)
    made.write("etc/initcpio/install/mine", MINE)
    made.write("etc/initcpio/hooks/mine", "run_hook() { :; }\n")
    made.write("usr/lib/initcpio/install/encrypt", ENCRYPT)
    made.write("usr/lib/initcpio/hooks/encrypt", "run_hook() { echo asks again; }\n")
    built = made.build()
    assert built.returncode == 0, built.stdout
    unpacked = made.run(f"mkdir /unpacked; image={IMAGE}; cd /unpacked; zstd -dcq $image | cpio --quiet -idm")
    assert unpacked.returncode == 0, unpacked.stdout
    return made


@pytest.fixture(scope="module")
def laptop(new_laptop):
    return laptop_with(new_laptop)


@pytest.fixture(scope="module")
def initrd(laptop):
    return laptop.changed / "unpacked"


def test_the_disk_is_attached_after_the_keyboard_and_before_anything_looks_for_root(initrd):
    order = re.search(r"HOOKS='(.*)'", (initrd / "config").read_text())[1].split()
    assert order == [
        "base", "udev", "modconf", "keyboard", "keymap", "consolefont", "block", "stiefel",
        "mine", "encrypt", "lvm2", "filesystems", "stiefel-adapt",
    ]  # fmt: skip


def test_what_the_owner_has_added_is_in_it(initrd):
    assert "dm_snapshot" in (initrd / "config").read_text()
    assert (initrd / "usr/bin/tac").exists()
    assert (initrd / "hooks/mine").exists()


def test_its_drivers_are_any_desktops(initrd):
    found = {path.name.partition(".ko")[0] for path in initrd.rglob("*.ko*")}
    assert {"nbd", "wireguard", "e1000e", "igb", "r8152", "realtek", "dm-crypt"} <= found
    assert {"i915", "amdgpu", "bochs"}.isdisjoint(found)


def test_the_attach_script_finds_all_it_needs(laptop):
    program = "import sys; sys.path.insert(0, '/usr/lib/stiefel'); import stiefel_agent.target.attach"
    done = laptop.run(f'chroot /unpacked /usr/bin/python3 -ISB -c "{program}"')
    assert done.returncode == 0, done.stdout


AT_BOOT = r"""
cd /tmp; rm -f tried
cat >attach <<'EOF'
#!/bin/sh
[ -e /tmp/tried ] || { touch /tmp/tried; exit 1; }
EOF
chmod 755 attach
cat >init <<'EOF'
launch_interactive_shell() { echo "a shell"; }
cryptsetup() { echo "cryptsetup $*"; tries=$((${tries:-0} + 1)); [ $tries -ge 3 ]; }
sleep() { :; }
. ./hook
run_hook
EOF
sed "s,/proc/cmdline,cmdline,; s,/usr/lib/stiefel/attach,./attach,; s,/etc/crypttab,/unpacked&," \
    /unpacked/hooks/stiefel >hook
sh init
"""
"""What mkinitcpio's init does with our hook, where attaching fails once and the passphrase is wrong twice."""


def boot(laptop, command_line):
    laptop.write("tmp/cmdline", command_line)
    return laptop.run(AT_BOOT).stdout.splitlines()


def test_at_the_desktop_it_attaches_and_asks_until_the_passphrase_is_right(laptop):
    said = boot(laptop, "quiet stiefel.role=target\n")
    opening = f"cryptsetup open UUID={UUID} nvme0n1p3_crypt"
    assert [line for line in said if not line.startswith("[stiefel]")] == ["a shell", opening, opening, opening]
    assert sum("not attached" in line for line in said) == 1


def test_on_the_laptop_itself_it_does_nothing(laptop):
    assert boot(laptop, "quiet cryptdevice=/dev/sda3:root\n") == []


def test_nobody_asks_a_second_time_for_what_the_laptops_command_line_names(initrd):
    assert not (initrd / "hooks/encrypt").exists()


def test_settings_of_crypttab_that_hold_on_a_desktop_are_kept(new_laptop):
    made = laptop_with(new_laptop, "nvme0n1p3_crypt /dev/nvme0n1p3 /root/key luks,discard,tpm2-device=auto\n")
    shown = (made.changed / "unpacked/etc/crypttab").read_text()
    assert shown == f"nvme0n1p3_crypt UUID={UUID} none luks,discard,tries=0\n"
    assert any("--allow-discards" in line for line in boot(made, "stiefel.role=target\n"))


def test_the_laptops_own_initramfs_starts_the_laptop_even_when_made_on_a_desktop(laptop):
    """F38: without autodetect it has every driver."""
    made = laptop.run("""
        mkdir /run/stiefel; touch /run/stiefel/session.json
        bash -c '. /etc/mkinitcpio.conf; . /etc/mkinitcpio.conf.d/90-stiefel.conf; echo ${HOOKS[*]}'
        """).stdout
    assert "systemd modconf" in made
