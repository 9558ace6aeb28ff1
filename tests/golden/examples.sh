#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every example is what the schema says, what libvirt's own schema says (where it is installed), and
# what the rewrite takes; and the schema refuses what it must.
set -e
dir=${top_srcdir:?}/xml
"${top_builddir:?}/tests/golden/golden-rewrite" examples "$dir/examples"

if ! command -v xmllint >/dev/null; then
	echo "xmllint is missing: the schema was not tried"
	exit 77
fi
libvirt=/usr/share/libvirt/schemas/domain.rng
for file in "$dir"/examples/*.xml; do
	xmllint --noout --relaxng "$dir/virtnvme.rng" "$file"
	if [ -f $libvirt ]; then
		xmllint --noout --relaxng $libvirt "$file"
	fi
done

refuse() {
	if sed "$1" "$dir/examples/read-only-shared.xml" |
		xmllint --noout --relaxng "$dir/virtnvme.rng" - 2>/dev/null; then
		echo "FAIL: the schema accepts: $1"
		exit 1
	fi
}
refuse 's/nvme:readonly/nvme:readnly/'
refuse 's/index="0"/index="16"/'
refuse 's/file="\/srv/file="srv/'
refuse 's/cache="writeback"/cache="unsafe"/'
refuse 's/dev="nvme0n1"/dev="nvme0"/'
