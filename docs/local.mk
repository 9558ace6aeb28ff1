# The man pages, and the documents that a user reads without the source. README.md speaks of the source tree and stays there.
dist_man_MANS += \
	docs/man/virt-nvme.1 \
	docs/man/virtnvme-controller.8 \
	docs/man/virtnvme-failed.8 \
	docs/man/virtnvme-keeper.8 \
	docs/man/virtnvme-xml.5 \
	docs/man/virtnvmed.8 \
	docs/man/virtnvmed.conf.5

dist_doc_DATA = \
	CHANGELOG.md \
	docs/architecture.md \
	docs/control.md \
	docs/limits.md \
	docs/performance.md \
	docs/nvme.md \
	docs/reliability.md \
	docs/migration.md \
	docs/threat-model.md
