#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The hook where no daemon runs: which operations succeed all the same, and who is asked at all.
program=${top_builddir:-.}/src/virt-nvme
status=0
ours='<domain><metadata><x:devices xmlns:x="urn:virtnvme:domain:1"/></metadata></domain>'
foreign='<domain><name>other</name></domain>'

# expect STATUS XML OPERATION
expect() {
	printf '%s' "$2" | "$program" hook name "$3" begin - >hook-script.tmp 2>&1
	if [ $? -ne "$1" ]; then
		echo "$3 of $2: exit status is not $1"
		status=1
	fi
	if [ "$1" -eq 0 ] && [ -s hook-script.tmp ]; then
		echo "$3 of $2 says: $(cat hook-script.tmp)"
		status=1
	fi
}

for operation in prepare start started migrate restore stopped release reconnect attach; do
	expect 0 "$foreign" $operation
done
for operation in start started stopped release reconnect attach; do
	expect 0 "$ours" $operation
done
for operation in prepare migrate restore; do
	expect 1 "$ours" $operation
	if [ "$(wc -l <hook-script.tmp)" -ne 1 ]; then
		echo "$operation: not one line: $(cat hook-script.tmp)"
		status=1
	fi
done

# A domain that is not ours contacts nobody.
if command -v strace >/dev/null; then
	printf '%s' "$foreign" | strace -f -e trace=network -o hook-script.tmp "$program" hook name prepare begin - &&
		if grep -E 'socket|connect' hook-script.tmp; then
			echo "a foreign domain opened a socket"
			status=1
		fi
fi
rm -f hook-script.tmp
exit $status
