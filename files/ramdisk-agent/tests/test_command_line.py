"""What the target is started with: the laptop's command line, without what can only be right on the laptop."""

from pathlib import Path

import pytest

from stiefel_agent.config import AutokexecConfig
from stiefel_agent.laptop.command_line import named, split, target_line

OURS = "noresume systemd.swap=0"
CABLE = {"r8169", "e1000e", "r8152", "nbd"}
GENERATOR = Path("/usr/lib/systemd/system-generators/systemd-debug-generator")


def text(running, cable=CABLE, **settings):
    """What becomes of a laptop's command line."""
    return target_line(running, AutokexecConfig(**settings), cable).text


def test_the_target_gets_the_laptops_command_line():
    running = "BOOT_IMAGE=/boot/vmlinuz-6.12 root=UUID=1-2 ro quiet console=tty0\n"
    assert text(running) == f"root=UUID=1-2 ro quiet console=tty0 {OURS} stiefel.role=target"


@pytest.mark.fault("F16")
def test_it_never_resumes_and_never_believes_to_be_a_server():
    running = "root=/dev/x resume=UUID=3 resume_offset=5 stiefel.role=server initrd=\\initrd.img rdinit=/x acpi_rsdp=1"
    assert text(running) == f"root=/dev/x {OURS} stiefel.role=target"


def test_parameters_are_added_and_dropped_by_name():
    line = text("root=/dev/x splash splash=silent", target_args="panic=5 video=1", target_args_dropped=("splash",))
    assert line == f"root=/dev/x {OURS} panic=5 video=1 stiefel.role=target"


def test_a_name_may_be_written_with_dashes_or_underscores():
    assert text("root=/dev/x log-buf-len=1M", target_args_dropped=("log_buf_len",)).startswith(f"root=/dev/x {OURS}")


@pytest.mark.parametrize(
    "words",
    [
        ['dyndbg="file  drivers/usb/* +p; func resume=x +p"', "quiet"],
        ['"dyndbg=file  drivers/usb/* +p"', "quiet"],
        ['a"b c"d', "e"],
        ["console=ttyS0,115200n8"],
    ],
)
def test_quoted_words_arrive_as_they_are(words):
    assert split(" \t".join(words) + "\n") == words
    assert text(" ".join(["root=UUID=1", *words])).startswith(" ".join(["root=UUID=1", *words, "noresume"]))


def test_a_quote_that_is_never_closed_swallows_nothing_of_ours():
    assert text('root=UUID=1 x="y quiet') == f'root=UUID=1 x="y quiet" {OURS} stiefel.role=target'


def test_names_and_values_are_read_as_the_kernel_reads_them():
    assert named('"dyndbg=file x +p"') == named('dyndbg="file x +p"') == ("dyndbg", "file x +p")
    assert named("vfio-pci.ids=10de:1b81") == ("vfio_pci.ids", "10de:1b81")


def test_what_is_for_init_stays_behind_the_dashes():
    line = text("root=UUID=1 ro quiet -- 3 maxcpus=1", target_args="panic=5 -- x")
    assert line == f"root=UUID=1 ro quiet {OURS} panic=5 stiefel.role=target -- 3 maxcpus=1 x"


@pytest.mark.parametrize(
    "word",
    [
        "isolcpus=2,3,4,5", "nohz_full=2,3", "rcu_nocbs=2,3", "maxcpus=4", "nr_cpus=2", "nosmp",
        "mem=8G", "memmap=128M$0x1bc000000", "acpi_osi=Linux", "acpi=off", "nomodeset", "i915.modeset=0",
        "vfio-pci.ids=10de:1b81", "ip=192.168.1.5::192.168.1.1:255.255.255.0::enp3s0:off", "video=efifb:off",
        "initcall_blacklist=sysfb_init", "ipv6.disable_ipv6=1",
    ],
)  # fmt: skip
def test_what_belongs_to_the_laptops_hardware_is_dropped_with_a_word(word):
    line = target_line(f"root=UUID=1 {word} quiet", AutokexecConfig(), CABLE)
    assert line.text == f"root=UUID=1 quiet {OURS} stiefel.role=target"
    ((dropped, why),) = ((one.word, one.why) for one in line.dropped)
    assert dropped == word
    assert why


@pytest.mark.parametrize(
    "word",
    [
        "processor.max_cstate=1", "idle=poll", "amd_pstate=disable", "mitigations=off", "video=eDP-1:d",
        "i915.enable_psr=0", "nvidia-drm.modeset=1", "console=ttyS0,115200n8", "net.ifnames=0", "rd.luks.name=2=root",
        "rootflags=subvol=@", "systemd.machine_id=0123", "intel_iommu=on",
    ],
)  # fmt: skip
def test_what_does_no_harm_on_another_machine_stays(word):
    line = target_line(f"root=UUID=1 {word}", AutokexecConfig(), CABLE)
    assert line.text == f"root=UUID=1 {word} {OURS} stiefel.role=target"
    assert not line.dropped


def test_what_a_person_asks_for_is_not_judged():
    assert "nomodeset maxcpus=2" in text("root=UUID=1 nomodeset", target_args="nomodeset maxcpus=2")


@pytest.mark.parametrize(
    ("running", "kept"),
    [
        (
            "BOOT_IMAGE=/boot/vmlinuz-6.12.86+deb13-amd64 root=UUID=1 quiet isolcpus=2,3 nohz_full=2,3 rcu_nocbs=2,3 "
            "processor.max_cstate=1 idle=poll amd_pstate=disable",
            "root=UUID=1 quiet processor.max_cstate=1 idle=poll amd_pstate=disable",
        ),
        (
            "BOOT_IMAGE=/boot/vmlinuz-6.12.96+deb13-amd64 root=LABEL=ZROOT ro console=ttyS0,115200n8 console=tty0 "
            "systemd.show_status=yes",
            "root=LABEL=ZROOT ro console=ttyS0,115200n8 console=tty0 systemd.show_status=yes",
        ),
        (
            "BOOT_IMAGE=/@/boot/vmlinuz root=UUID=1 ro rootflags=subvol=@ resume=UUID=1 resume_offset=533760 "
            "rd.luks.name=2=root rd.luks.options=2=tpm2-device=auto",
            "root=UUID=1 ro rootflags=subvol=@ rd.luks.name=2=root",
        ),
        (
            r"initrd=\EFI\debian\initrd.img root=PARTUUID=77 rw systemd.machine_id=0123",
            "root=PARTUUID=77 rw systemd.machine_id=0123",
        ),
        (
            "root=UUID=1 ro video=eDP-1:d i915.enable_psr=0 vfio-pci.ids=10de:1b81 modprobe.blacklist=r8169,e1000e "
            "maxcpus=4 mem=8G",
            "root=UUID=1 ro video=eDP-1:d i915.enable_psr=0",
        ),
    ],
)
def test_whole_lines_as_they_were_posted(running, kept):
    assert text(running) == f"{kept} {OURS} stiefel.role=target"


@pytest.mark.parametrize("name", ["modprobe.blacklist", "module_blacklist", "rd.driver.blacklist"])
def test_a_wired_driver_is_taken_off_the_laptops_blacklist(name):
    line = target_line(f"root=UUID=1 {name}=r8169,nouveau,e1000e quiet", AutokexecConfig(), CABLE)
    assert f"root=UUID=1 {name}=nouveau quiet {OURS}" in line.text
    assert "for the cable" in line.dropped[0].why
    assert f"root=UUID=1 quiet {OURS}" in text(f"root=UUID=1 {name}=r8169 quiet")
    untouched = target_line(f"{name}=nouveau,pcspkr", AutokexecConfig(), CABLE)
    assert (f"{name}=nouveau,pcspkr" in untouched.text, untouched.dropped) == (True, ())


@pytest.mark.fault("F43")
def test_the_passphrase_is_not_delayed_by_a_tpm_that_is_elsewhere():
    line = text("root=UUID=1 rd.luks.name=2=root rd.luks.options=2=tpm2-device=auto,discard")
    assert line.startswith("root=UUID=1 rd.luks.name=2=root rd.luks.options=2=discard noresume")
    assert "luks.options" not in text("root=UUID=1 rd.luks.options=tpm2-device=auto")
    assert "rd.luks.options=fido2-device=auto" in text("root=UUID=1 rd.luks.options=fido2-device=auto")
