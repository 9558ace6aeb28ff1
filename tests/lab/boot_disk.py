# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disk images that a firmware boots the lab's kernel and initramfs from."""
from .error import LabError
from .guest import CMDLINE, INITRAMFS, KERNEL

SIZE = 160      # MiB
FIRST = 2048    # the partition's first sector

# One FAT partition. UEFI: kernel, initramfs and command line as one EFI program, where the firmware
# looks for it. BIOS: syslinux.
SCRIPTS = {
    'uefi': r'''
printf 'label: gpt\nstart=%s, type=uefi\n' "$first" | sfdisk -q "$disk"
mkfs.vfat -F 32 --offset "$first" "$disk" $(((size - 2) * 1024)) > /dev/null
ukify build --linux "$kernel" --initrd "$initramfs" --cmdline "$cmdline" --output "$work/bootx64.efi" > /dev/null
mmd -i "$partition" ::/EFI ::/EFI/BOOT
mcopy -i "$partition" "$work/bootx64.efi" ::/EFI/BOOT/BOOTX64.EFI
''',
    'bios': r'''
printf 'label: dos\nstart=%s, type=c, bootable\n' "$first" | sfdisk -q "$disk"
mkfs.vfat -F 32 --offset "$first" "$disk" $(((size - 2) * 1024)) > /dev/null
printf 'DEFAULT lab\nLABEL lab\nLINUX vmlinuz\nINITRD initramf\nAPPEND %s\n' "$cmdline" > "$work/syslinux.cfg"
mcopy -i "$partition" "$work/syslinux.cfg" ::/syslinux.cfg
mcopy -i "$partition" "$kernel" ::/vmlinuz
mcopy -i "$partition" "$initramfs" ::/initramf
syslinux --install --offset $((first * 512)) "$disk"
''',
}

# A master boot record for the BIOS disk. TCG keeps the code that it has translated, and learns that the code
# has changed when a CPU or a device of QEMU writes there, not when a vfio-user server writes to shared memory.
# syslinux's own MBR has the partition's boot sector read to where it was itself run from, 0x7c00, and so would
# be run again. This one has it read to 0x8000, and copies.
#       cli; xorw %ax,%ax; movw %ax,%ds; movw %ax,%es; movw %ax,%ss; movw $0x7c00,%sp; sti; cld
#       movw $0x7c00,%si; movw $0x600,%di; movw $256,%cx; rep movsw; ljmp $0,$next
# next: movw $packet,%si; movb $0x42,%ah; int $0x13; jc fail
#       movw $0x8000,%si; movw $0x7c00,%di; movw $256,%cx; rep movsw; movw $0x7be,%si; ljmp $0,$0x7c00
# fail: hlt; jmp fail
# packet: .byte 16,0; .word 1,0x8000,0; .quad FIRST
MBR = bytes.fromhex('fa31c08ed88ec08ed0bc007cfbfc be007cbf0006b90001f3a5ea1e060000'
                    'be3d06b442cd137213 be0080bf007cb90001f3a5bebe07ea007c0000 f4ebfd'
                    '1000010000800000') + FIRST.to_bytes(8, 'little')

PROLOGUE = '''set -e
disk=$1 size=$2 first=$3 kernel=$4 initramfs=$5 cmdline=$6
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
partition=$disk@@$((first * 512))
truncate -s "${size}M" "$disk"
'''


def make_boot_disk(host, path, firmware='uefi', cmdline=''):
    """Make PATH (inside HOST), a raw image of 160 MiB that boots to an agent, by 'uefi' or 'bios'."""
    if host.path(path).exists():
        raise LabError(f'{path} exists')
    host.run(['sh', '-c', PROLOGUE + SCRIPTS[firmware], 'sh', path, SIZE, FIRST, KERNEL, INITRAMFS,
              f'{CMDLINE} {cmdline}'.strip()])
    if firmware == 'bios':
        with open(host.path(path), 'r+b') as disk:
            disk.write(MBR)
