schemadir = $(datadir)/virtnvme/schemas
dist_schema_DATA = xml/virtnvme.rng
examplesdir = $(docdir)/examples
dist_examples_DATA = \
	xml/examples/beside-virtio.xml \
	xml/examples/block-device.xml \
	xml/examples/hugepages-three-namespaces.xml \
	xml/examples/memory-disk.xml \
	xml/examples/pc-seabios-boot.xml \
	xml/examples/q35-uefi-boot.xml \
	xml/examples/read-only-shared.xml \
	xml/examples/two-paths.xml
