DOMAIN_XML_TESTS = tests/unit/domain-xml/test-metadata tests/unit/domain-xml/test-rewrite \
	tests/unit/domain-xml/test-subsystem
check_PROGRAMS += $(DOMAIN_XML_TESTS)
TESTS += $(DOMAIN_XML_TESTS)
tests_unit_domain_xml_test_metadata_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_domain_xml_test_metadata_LDADD = $(DOMAIN_XML_LIBS) $(BASE_LIBS) $(CMOCKA_LIBS)
tests_unit_domain_xml_test_rewrite_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_domain_xml_test_rewrite_LDADD = $(DOMAIN_XML_LIBS) $(BASE_LIBS) $(CMOCKA_LIBS)
tests_unit_domain_xml_test_subsystem_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_domain_xml_test_subsystem_LDADD = $(DOMAIN_XML_LIBS) $(BASE_LIBS) $(CMOCKA_LIBS)
