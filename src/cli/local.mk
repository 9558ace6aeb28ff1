bin_PROGRAMS += src/virt-nvme
src_virt_nvme_SOURCES = \
	src/cli/attach-disk.c \
	src/cli/check.c src/cli/check.h \
	src/cli/cli.h \
	src/cli/client.c src/cli/client.h \
	src/cli/define.c \
	src/cli/detach-disk.c \
	src/cli/domains.c src/cli/domains.h \
	src/cli/hook.c \
	src/cli/host-validate.c \
	src/cli/info.c \
	src/cli/list.c \
	src/cli/main.c \
	src/cli/resize.c \
	src/cli/migrate-check.c \
	src/cli/rewrite.c \
	src/cli/table.c src/cli/table.h \
	src/cli/unmanage.c \
	src/cli/upgrade.c \
	src/cli/validate.c
src_virt_nvme_CPPFLAGS = $(AM_CPPFLAGS) $(JSON_CFLAGS) $(SYSTEMD_CFLAGS) $(LIBVIRT_CFLAGS) \
	-DVIRTNVME_HOOK_DIR='"$(hookdir)"'
src_virt_nvme_LDADD = $(DOMAIN_XML_LIBS) $(CONTROL_LIBS) $(BASE_LIBS) $(LIBXML_LIBS) $(LIBVIRT_LIBS)
