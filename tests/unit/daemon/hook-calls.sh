#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# libvirtd holds the domain's lock while a hook runs: what answers hooks must not be able to ask libvirt about domains,
# nor wait for those who do (the lock `work` of a domain).
cd "${top_builddir:-.}/src/daemon" || exit 99
status=0
# What hooks.c reaches. Of libvirt, volumes.c may use storage calls, which do not touch a domain.
for object in hooks incoming keeper keeper-config keeper-status domain source probe capabilities volumes; do
	nm -u "libdaemon_a-$object.o" >hook-calls.tmp || exit 99
	if grep -E ' (virDomain|virConnect(List|Domain|Num)|libvirt_connection|definition_|live_|monitor_)' hook-calls.tmp; then
		echo "$object.c is part of the hooks' path and calls the above"
		status=1
	fi
done
rm -f hook-calls.tmp
if grep -n 'work' "${top_srcdir:-../..}/src/daemon/hooks.c" | grep -E 'mutex|lock\('; then
	echo "hooks.c takes the lock of those who call libvirt"
	status=1
fi
exit $status
