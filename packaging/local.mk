# systemd units, users, directories, AppArmor and logrotate snippets; none of them is needed to run from a shell.
sysusersdir = $(prefix)/lib/sysusers.d
tmpfilesdir = $(prefix)/lib/tmpfiles.d
logrotatedir = $(sysconfdir)/logrotate.d
apparmordir = $(sysconfdir)/apparmor.d/abstractions/libvirt-qemu.d
virtnvmeconfdir = $(sysconfdir)/virtnvme

unit_DATA = packaging/virtnvmed.service packaging/virtnvmed.socket
sysusers_DATA = packaging/sysusers.d/virtnvme.conf
tmpfiles_DATA = packaging/tmpfiles.d/virtnvme.conf
logrotate_DATA = packaging/logrotate.d/virtnvme
apparmor_DATA = packaging/apparmor.d/virtnvme
dist_virtnvmeconf_DATA = packaging/virtnvmed.conf

PACKAGING_FILES = $(unit_DATA) $(sysusers_DATA) $(tmpfiles_DATA) $(logrotate_DATA) $(apparmor_DATA)
CLEANFILES += $(PACKAGING_FILES)
EXTRA_DIST += \
	packaging/apparmor/virtnvme.in \
	packaging/systemd/virtnvmed.service.in \
	packaging/systemd/virtnvmed.socket.in \
	packaging/virtnvme.logrotate.in \
	packaging/virtnvme.sysusers.in \
	packaging/virtnvme.tmpfiles.in

packaging_substitute = $(AM_V_GEN)$(MKDIR_P) $(@D) && $(SED) \
	-e 's|@sbindir[@]|$(sbindir)|g' \
	-e 's|@runtimedir[@]|$(runtimedir)|g' \
	-e 's|@localstatedir[@]|$(localstatedir)|g' \
	-e 's|@controlleruser[@]|$(controlleruser)|g' $< >$@.tmp && mv $@.tmp $@

packaging/virtnvmed.service: packaging/systemd/virtnvmed.service.in Makefile
	$(packaging_substitute)
packaging/virtnvmed.socket: packaging/systemd/virtnvmed.socket.in Makefile
	$(packaging_substitute)
packaging/sysusers.d/virtnvme.conf: packaging/virtnvme.sysusers.in Makefile
	$(packaging_substitute)
packaging/tmpfiles.d/virtnvme.conf: packaging/virtnvme.tmpfiles.in Makefile
	$(packaging_substitute)
packaging/logrotate.d/virtnvme: packaging/virtnvme.logrotate.in Makefile
	$(packaging_substitute)
packaging/apparmor.d/virtnvme: packaging/apparmor/virtnvme.in Makefile
	$(packaging_substitute)
