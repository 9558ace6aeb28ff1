# SPDX-License-Identifier: LGPL-2.1-or-later
"""A state that is well signed and wrong, as whoever can write to the stream may make it."""
import json
import random
import struct

from client.crc32c import crc32c
from test_migration import incoming, move, refused, sides     # noqa: F401 pylint: disable=unused-import

PART = struct.Struct('<8sIIIIIIQ')      # blob.c: magic, version, checksum, number, count, size, checksum and size of the whole


def signed(whole, count):
    """Parts of it with good checksums, as an attacker can make them; it is small."""
    parts = []
    for number in range(count):
        data = whole if number == 0 else b''
        fields = [number, count, len(data), crc32c(whole), len(whole)]
        crc = crc32c(PART.pack(b'VNVMSTAT', 1, 0, *fields) + data)
        parts.append(PART.pack(b'VNVMSTAT', 1, crc, *fields) + data)
    return parts


def test_nonsense_is_refused(sides):     # noqa: F811 pylint: disable=redefined-outer-name
    """Well signed, and wrong: in the description, in the sizes, in the state itself."""
    source = sides(1).start().guest()
    parts = source.save()
    whole = b''.join(part[PART.size:] for part in parts)
    size, = struct.unpack_from('<I', whole)
    text, rest = whole[4:4 + size], whole[4 + size:]
    assert signed(whole, len(parts)) == parts
    description = json.loads(text)
    noise = random.Random(4)
    target = incoming(sides)
    move(source, target)
    for turn in range(36):
        if turn % 3 == 0:
            # A value of another type or size, somewhere.
            broken = json.loads(text)
            place = broken['controllers'][0]
            if noise.random() < 0.5:
                place = place[noise.choice(['pci', 'namespaces'])]
                place = place[0] if isinstance(place, list) else place
            place[noise.choice(list(place))] = noise.choice([None, -1, 1 << 62, 'x', [], {}, 3.5, True])
            new = json.dumps(broken).encode()
        elif turn % 3 == 1:
            at = noise.randrange(len(text))
            new = text[:at] + bytes([noise.randrange(256)]) + text[at + 1:]
        else:
            # The runs of the state, where their places and lengths are.
            new = text
            rest = bytes(noise.choice([0, 0xff, b]) if at < 16 and noise.random() < 0.3 else b
                         for at, b in enumerate(whole[4 + size:]))
            rest = rest[:noise.randrange(len(rest))]
        if new == text and rest == whole[4 + size:] or new != text and json_equal(new, description):
            continue
        refused(lambda: target.load(signed(struct.pack('<I', len(new)) + new + rest, len(parts))), '.')     # pylint: disable=cell-var-from-loop
        rest = whole[4 + size:]
        assert target.state() == 'incoming'
    source.driver.client, source.driver.memory.memory = source.client, source.client.regions[0].memory
    source.goes_on()


def json_equal(text, value):
    try:
        return json.loads(text) == value
    except ValueError:
        return False
