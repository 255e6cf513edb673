package main

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestComposeSetsOpenObserveUpForTheRows(t *testing.T) {
	s := compose(t, nil).Services["openobserve"]
	value := func(name string) string {
		if v := s.Environment[name]; v != nil {
			return *v
		}
		return ""
	}
	// Rows of enriched are kept for 45 days, those of tasks, spend and findings
	// for 400 (DESIGN §3).
	if hours, err := strconv.Atoi(value("ZO_INGEST_ALLOWED_UPTO")); err != nil || hours < 400*24 {
		t.Errorf("ZO_INGEST_ALLOWED_UPTO %d (%v), want 400 days", hours, err)
	}
	for name, want := range map[string]string{"ZO_WAL_FSYNC_DISABLED": "false", "ZO_TELEMETRY": "false", "ZO_DISK_CIRCUIT_BREAKER_ENABLED": "true"} {
		if value(name) != want {
			t.Errorf("%s is %q, want %q", name, value(name), want)
		}
	}
	user := value("ZO_ROOT_USER_EMAIL")
	for _, name := range []string{"provision-openobserve", "sink"} {
		flags := settings(t, compose(t, nil).Services[name])
		if flags["openobserve-admin-user"] != user || name == "sink" && flags["openobserve-user"] != user || user != strings.ToLower(user) {
			t.Errorf("%s: %v, want the user %s", name, flags, user)
		}
	}
}

func TestComposeRunsKafkaAsTheBrokerWantsIt(t *testing.T) {
	p := compose(t, nil, "kafka")
	s := p.Services["kafka"]
	for name, want := range map[string]string{
		"KAFKA_PROCESS_ROLES": "broker,controller", "KAFKA_LOG_MESSAGE_TIMESTAMP_TYPE": "LogAppendTime", "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
		"KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1", "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1", "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
	} {
		if got := s.Environment[name]; got == nil || *got != want {
			t.Errorf("%s is %v, want %s", name, got, want)
		}
	}
	// Each listener that is advertised is there, and the one for this machine
	// says what is published.
	listeners := strings.Split(*s.Environment["KAFKA_LISTENERS"], ",")
	for _, advertised := range strings.Split(*s.Environment["KAFKA_ADVERTISED_LISTENERS"], ",") {
		name, address, _ := strings.Cut(advertised, "://")
		host, port, err := net.SplitHostPort(address)
		if err != nil || !slices.Contains(listeners, name+"://:"+port) {
			t.Errorf("%s is advertised, there are %v (%v)", advertised, listeners, err)
		}
		if published := len(s.Ports) == 1 && s.Ports[0].HostIP == host && s.Ports[0].Published == port; published != (name == "HOST") || !published && host != s.Name {
			t.Errorf("%s is advertised, published is %v", advertised, s.Ports)
		}
	}
}
