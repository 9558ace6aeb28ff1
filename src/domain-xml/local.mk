noinst_LIBRARIES += src/libdomain-xml.a
src_libdomain_xml_a_SOURCES = \
	src/domain-xml/arrival.c src/domain-xml/arrival.h \
	src/domain-xml/attach.c src/domain-xml/attach.h \
	src/domain-xml/boot.c src/domain-xml/boot.h \
	src/domain-xml/commandline.c src/domain-xml/commandline.h \
	src/domain-xml/domain.c src/domain-xml/domain.h src/domain-xml/facts.h \
	src/domain-xml/identity.c src/domain-xml/identity.h \
	src/domain-xml/layout.c src/domain-xml/layout.h \
	src/domain-xml/memory.c src/domain-xml/memory.h \
	src/domain-xml/metadata.c src/domain-xml/metadata.h \
	src/domain-xml/metadata-disk.c src/domain-xml/metadata-format.c src/domain-xml/metadata-parse.c \
	src/domain-xml/objects.c src/domain-xml/objects.h \
	src/domain-xml/parse.c src/domain-xml/parse.h \
	src/domain-xml/pci.c src/domain-xml/pci.h \
	src/domain-xml/record.c src/domain-xml/record.h \
	src/domain-xml/rewrite.c src/domain-xml/rewrite.h \
	src/domain-xml/size.c src/domain-xml/size.h \
	src/domain-xml/validate.c src/domain-xml/validate.h \
	src/domain-xml/words.c src/domain-xml/words.h \
	src/domain-xml/xml.c src/domain-xml/xml.h
src_libdomain_xml_a_CPPFLAGS = $(AM_CPPFLAGS) $(JSON_CFLAGS) $(LIBXML_CFLAGS) $(UUID_CFLAGS)
DOMAIN_XML_LIBS = src/libdomain-xml.a $(LIBXML_LIBS) $(UUID_LIBS)
