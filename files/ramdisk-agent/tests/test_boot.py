"""Which kernel the laptop would boot next: what its boot loader says, or else the newest."""

import subprocess

import pytest

from stiefel_agent.errors import NothingToBoot
from stiefel_agent.laptop import boot

# What update-grub of Debian 13 writes, without what says nothing here.
GRUB = """\
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="DEFAULT"
fi
function load_video {
  if [ x$feature_all_video_module = xy ]; then
    insmod all_video
  fi
}
# what a person's comment isn't
menuentry 'Debian GNU/Linux' --class debian --class os $menuentry_id_option 'gnulinux-simple-1' {
	load_video
	linux	/boot/vmlinuz-6.12.48+deb13-amd64 root=UUID=1 ro  quiet
	initrd	/boot/initrd.img-6.12.48+deb13-amd64
}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-1' {
	menuentry 'Debian, with Linux 6.12.48+deb13-amd64' $menuentry_id_option 'gnulinux-6.12.48+deb13-advanced-1' {
		linux	/boot/vmlinuz-6.12.48+deb13-amd64 root=UUID=1 ro  quiet
	}
	menuentry 'Debian, with Linux 6.9.3-surface-2' $menuentry_id_option 'gnulinux-6.9.3-surface-2-advanced-1' {
		linux	/boot/vmlinuz-6.9.3-surface-2 root=UUID=1 ro dyndbg="file x +p"
	}
}
menuentry 'Windows Boot Manager' --class windows $menuentry_id_option 'osprober-efi-1' {
	chainloader /EFI/Microsoft/Boot/bootmgfw.efi
}
menuentry "mine" --id own {
	linux /vmlinuz root=UUID=1
}
"""
VERSIONS = ("6.12.48+deb13-amd64", "6.9.3-surface-2", "7.0-self-built")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A laptop's root folder with three kernels and GRUB, booted by no loader that says so."""
    monkeypatch.setattr(boot, "_LOADER_INFO", tmp_path / "none")
    (tmp_path / "boot/grub").mkdir(parents=True)
    (tmp_path / "target").mkdir()
    for version in VERSIONS:
        (tmp_path / f"boot/vmlinuz-{version}").touch()
        (tmp_path / f"target/initrd.img-{version}").touch()
    return tmp_path


def chosen(root, default="0", environment=""):
    """Which kernel a target gets with this default in GRUB."""
    (root / "boot/grub/grub.cfg").write_text(GRUB.replace("DEFAULT", default))
    (root / "boot/grub/grubenv").write_text(f"# GRUB Environment Block\n{environment}####")
    return boot.kernel_for_target(root, root / "target")


SURFACE = "gnulinux-6.9.3-surface-2-advanced-1"


@pytest.mark.fault("F28")
@pytest.mark.parametrize(
    ("default", "environment", "version"),
    [
        ("0", "", "6.12.48+deb13-amd64"),
        ("1>1", "", "6.9.3-surface-2"),
        ("1", "", "6.12.48+deb13-amd64"),
        (f"gnulinux-advanced-1>{SURFACE}", "", "6.9.3-surface-2"),
        ("Advanced options for Debian GNU/Linux>Debian, with Linux 6.9.3-surface-2", "", "6.9.3-surface-2"),
        ("${saved_entry}", f"saved_entry=gnulinux-advanced-1>{SURFACE}\n", "6.9.3-surface-2"),
        ("${saved_entry}", "", "6.12.48+deb13-amd64"),
        ("0", "next_entry=1>1\n", "6.9.3-surface-2"),
    ],
)
def test_grubs_default_is_followed(root, default, environment, version):
    assert chosen(root, default, environment) == version


@pytest.mark.parametrize("default", ["osprober-efi-1", "no such entry", "9"])
def test_where_grub_names_no_linux_the_newest_is_taken(root, default):
    assert chosen(root, default) == "7.0-self-built"


def test_a_link_to_a_kernel_is_followed(root):
    (root / "vmlinuz").symlink_to("boot/vmlinuz-6.9.3-surface-2")
    assert chosen(root, "own") == "6.9.3-surface-2"


def test_a_kernel_without_a_targets_initrd_is_not_taken(root):
    (root / "target/initrd.img-6.12.48+deb13-amd64").unlink()
    assert chosen(root) == "7.0-self-built"


def test_without_any_the_remedy_is_named(tmp_path):
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/vmlinuz-6.12").touch()
    with pytest.raises(NothingToBoot, match=r"--tags nbd_root.*6\.12"):
        boot.kernel_for_target(tmp_path, tmp_path)


# What bootctl of systemd 252 prints (SYSTEMD_RELAX_ESP_CHECKS=1 bootctl --esp-path=... list). A unified image carries
# the version of the release, not the kernel's.
UKI = """\
         type: Boot Loader Specification Type #2 (.efi)
        title: Debian GNU/Linux 12 (bookworm){uki}
           id: 0123-6.12.48+deb13-amd64.efi
       source: /efi/EFI/Linux/0123-6.12.48+deb13-amd64+2.efi
        tries: 2 left
     sort-key: debian
      version: 12
        linux: EFI/Linux/0123-6.12.48+deb13-amd64+2.efi
      options: root=UUID=1 ro
"""
BLS = """\
         type: Boot Loader Specification Type #1 (.conf)
        title: Debian{bls}
           id: 0123-6.9.3-surface-2.conf
       source: /efi/loader/entries/0123-6.9.3-surface-2+3-1.conf
        tries: 3 left; 1 done
      version: 6.9.3-surface-2
   machine-id: 0123
        linux: /0123/6.9.3-surface-2/linux
       initrd: /0123/6.9.3-surface-2/initrd
      options: root=UUID=1 dyndbg="a b"
"""
WINDOWS = """\
         type: Automatic
        title: Windows Boot Manager{windows}
           id: auto-windows
       source: /sys/firmware/efi/efivars/LoaderEntries-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f
"""
# The same of systemd 257, which writes paths differently.
SYSTEMD_257 = """\
         type: Boot Loader Specification Type #1 (.conf)
        title: Debian (not reported/new)
           id: 0123-6.9.3-surface-2.conf
       source: /esp//loader/entries/0123-6.9.3-surface-2+3-1.conf (on the EFI System Partition)
      version: 6.9.3-surface-2
        linux: /esp//0123/6.9.3-surface-2/linux

         type: Boot Loader Specification Type #2 (.efi)
        title: Debian GNU/Linux 13 (trixie) (default) (selected)
           id: 0123-6.12.48+deb13-amd64.efi
       source: /esp//EFI/Linux/0123-6.12.48+deb13-amd64+2.efi (on the EFI System Partition)
      version: 13
        linux: /esp//EFI/Linux/0123-6.12.48+deb13-amd64+2.efi
"""
DEFAULT = " (default) (not reported/new)"


def bootctl(default):
    """What bootctl lists when this entry is the default."""
    titles = {name: DEFAULT if name == default else " (selected)" for name in ("uki", "bls", "windows")}
    return "\n".join((UKI, BLS, WINDOWS)).format(**titles)


@pytest.mark.fault("F28")
@pytest.mark.parametrize(
    ("listed", "version"),
    [
        (bootctl("bls"), "6.9.3-surface-2"),
        (bootctl("uki"), "6.12.48+deb13-amd64"),
        (bootctl("windows"), ""),
        (bootctl(""), ""),
        ("", ""),
        (SYSTEMD_257, "6.12.48+deb13-amd64"),
    ],
)
def test_systemd_boots_default_is_followed(listed, version):
    assert boot.bootctl_kernel(listed, ["6.12.48", *VERSIONS]) == version


def test_bootctl_is_asked_where_systemd_boot_was_the_loader(root, monkeypatch):
    loader = root / "LoaderInfo"
    loader.write_bytes(b"\x06\0\0\0" + "systemd-boot 257\0".encode("utf-16-le"))
    monkeypatch.setattr(boot, "_LOADER_INFO", loader)
    monkeypatch.setattr(boot, "_bootctl", lambda: bootctl("bls"))
    assert chosen(root) == "6.9.3-surface-2"


@pytest.mark.parametrize(
    "ascending",
    [
        ["6.12.48+deb13-amd64", "6.16-rc7-amd64", "6.16-amd64"],
        ["6.16.3~rc1-amd64", "6.16.3-amd64"],
        ["6.12.9-x64v3-xanmod1", "6.12.10-1-liquorix-amd64", "6.12.48+deb13-amd64"],
        ["6.8.0-45-generic", "6.9.3-surface-2"],
        ["6.1.0-9-amd64", "6.1.0-28-amd64"],
        ["6.12.9-amd64", "6.12.38+deb13-amd64", "6.12.107+deb13-amd64"],
        ["linux", "linux-lts", "linux-zen"],
    ],
)
def test_versions_are_ordered_by_their_numbers(ascending):
    assert sorted(ascending, key=boot.order, reverse=True) == ascending[::-1]
    text = "\n".join(version.replace("-rc", "~rc") for version in ascending)
    sort = subprocess.run(["sort", "-V"], input=text, text=True, capture_output=True, check=True, env={"LC_ALL": "C"})
    assert sort.stdout.replace("~rc", "-rc").split() == [version.replace("~rc", "-rc") for version in ascending]


def test_a_kernel_that_was_replaced_comes_after_its_successor():
    assert max(["6.12.0.old", "6.12.0"], key=boot.order) == "6.12.0"


def test_what_the_cable_needs_is_found_among_the_modules():
    modules = """\
kernel/drivers/net/ethernet/realtek/r8169.ko.xz: kernel/drivers/net/phy/libphy.ko.xz
kernel/drivers/net/phy/libphy.ko.xz:
kernel/drivers/net/usb/r8152.ko.xz:
kernel/drivers/net/wireless/intel/iwlwifi/iwlwifi.ko.xz:
kernel/drivers/block/nbd.ko.xz:
kernel/drivers/usb/host/xhci-pci.ko.xz:
kernel/drivers/gpu/drm/nouveau/nouveau.ko.xz:
updates/dkms/r8168.ko.xz:
updates/dkms/nvidia.ko.xz:
"""
    assert boot.cable_modules(modules) == {"r8169", "libphy", "r8152", "nbd", "xhci_pci", "r8168"}
