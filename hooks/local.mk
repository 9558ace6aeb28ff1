hookdir = $(sysconfdir)/libvirt/hooks/qemu.d
hook_SCRIPTS = hooks/50-virtnvme
EXTRA_DIST += hooks/50-virtnvme.in
CLEANFILES += hooks/50-virtnvme

hooks/50-virtnvme: hooks/50-virtnvme.in Makefile
	$(AM_V_GEN)$(MKDIR_P) hooks && $(SED) -e 's|@bindir[@]|$(bindir)|g' $< >$@.tmp && chmod +x $@.tmp && mv $@.tmp $@
